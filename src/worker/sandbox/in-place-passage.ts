import { chmodSync, statSync } from "node:fs";
import { dirname } from "node:path/posix";

const MAY_PASS = 0o011;

/** Directories that others may go through, not read, while this is open. */
export interface Passage {
  close(): void;
}

/** Opens every directory above `path` to other users, and closes those again that were closed to them. */
export function openPassage(path: string): Passage {
  const opened: { readonly directory: string; readonly mode: number }[] = [];
  for (let at = dirname(path); at !== "/"; at = dirname(at)) {
    const mode = statSync(at).mode & 0o7777;
    if ((mode & MAY_PASS) === MAY_PASS) continue;
    chmodSync(at, mode | MAY_PASS);
    opened.push({ directory: at, mode });
  }
  return {
    close: () => {
      for (const { directory, mode } of opened) chmodSync(directory, mode);
    },
  };
}
