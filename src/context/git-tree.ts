import {
  chmodSync,
  lstatSync,
  lutimesSync,
  readdirSync,
  rmSync,
  type Dirent,
  type Stats,
} from "node:fs";
import { setImmediate } from "node:timers/promises";

export interface SettleOptions {
  /** Removes every `.git`: the repository's and, the files that point into it, the submodules'. */
  readonly removeGit: boolean;
  /** Seconds since the epoch, for everything; absent: times stay. */
  readonly mtime?: number | undefined;
  readonly signal: AbortSignal;
}

/** Makes a checkout what it would be under umask 022 (whatever ours is), without following links. */
export async function settleTree(root: string, options: SettleOptions): Promise<void> {
  // Names are bytes: git has some that are not UTF-8.
  await settleDirectory(Buffer.from(root), options);
}

async function settleDirectory(path: Buffer, options: SettleOptions): Promise<void> {
  options.signal.throwIfAborted();
  chmodSync(path, 0o755);
  const directories: Buffer[] = [];
  for (const entry of readEntries(path)) {
    const child = Buffer.concat([path, Buffer.from("/"), entry.name]);
    if (options.removeGit && entry.name.toString("latin1") === ".git") {
      rmSync(child, { recursive: true, force: true });
    } else if (entry.isDirectory()) directories.push(child);
    else settleFile(child, options.mtime);
  }
  for (const directory of directories) await settleDirectory(directory, options);
  // After what is in it: a removal changes it too.
  if (options.mtime !== undefined) lutimesSync(path, options.mtime, options.mtime);
  await setImmediate();
}

function readEntries(path: Buffer): readonly Dirent<Buffer>[] {
  return readdirSync(path, { withFileTypes: true, encoding: "buffer" });
}

function settleFile(path: Buffer, mtime: number | undefined): void {
  const stats = lstatSync(path);
  if (stats.isFile()) {
    const owner = stats.mode & 0o700;
    const mode = owner | ((owner >> 3) & 0o050) | ((owner >> 6) & 0o005);
    if ((stats.mode & 0o7777) !== mode) chmodSync(path, mode);
  }
  if (mtime !== undefined) lutimesSync(path, mtime, mtime);
}

/** The first part of a path below `root` that is not a directory; `undefined`: all are, and none is a link. */
export function findNonDirectory(root: string, path: string): string | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  return parts
    .map((_, index) => parts.slice(0, index + 1).join("/"))
    .find((part) => !isDirectory(lstatSync(`${root}/${part}`, { throwIfNoEntry: false })));
}

function isDirectory(stats: Stats | undefined): boolean {
  return stats?.isDirectory() === true;
}
