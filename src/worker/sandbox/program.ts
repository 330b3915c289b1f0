import { accessSync, constants, statSync } from "node:fs";

/** Docker's, where an image sets none. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Exit codes of a shell for a command that is not there, and for one that cannot be run. */
export const NOT_FOUND = 127;
export const NOT_EXECUTABLE = 126;

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
