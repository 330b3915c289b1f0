import { accessSync, constants, mkdirSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import { errnoOf } from "../errors.js";
import { MS, type MountCalls } from "./linux/mount.js";

/**
 * Makes the current directory reachable by its name. Root of a shifted namespace is nobody out here: a store below
 * /root is its own, but the way there is closed. Then a tmpfs covers the closed directory, in this mount namespace
 * alone: what it hides could not be reached before either. @throws SystemCallError, Error as the file system says
 */
export function reach(path: string, mounts: Pick<MountCalls, "mount" | "bind">): void {
  const closed = closedAbove(path);
  if (closed === undefined) return;
  mounts.mount("tmpfs", closed, "tmpfs", MS.NOSUID | MS.NODEV, "mode=755");
  mkdirSync(path, { recursive: true });
  mounts.bind(".", path);
}

/** The topmost directory above `path` that this process may not go into. */
function closedAbove(path: string): string | undefined {
  const above: string[] = [];
  for (let at = dirname(path); ; at = dirname(at)) {
    above.unshift(at);
    if (at === "/") break;
  }
  return above.find((at) => !isOpen(at));
}

function isOpen(directory: string): boolean {
  try {
    accessSync(join(directory, "."), constants.X_OK);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EACCES") return false;
    throw error;
  }
}
