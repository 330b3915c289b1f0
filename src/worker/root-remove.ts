import { randomBytes } from "node:crypto";
import { chmodSync, lstatSync, readdirSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { errnoOf } from "../errors.js";
import type { FsPath } from "./root-names.js";

const SLASH = Buffer.of(0x2f);
const OWNER_ALL = 0o700;
/** Bytes of a path below which its children are still safe to name: the kernel takes 4095. */
const LONG_PATH = 3800;

/** Deletes whatever is at `path`, never following a symlink; absent is fine. Asks for no mode: it runs as the namespace's root. */
export function removeTreeSync(path: FsPath): void {
  try {
    unlinkSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return;
    // A directory: EISDIR on Linux, EPERM by POSIX.
    if (errno !== "EISDIR" && errno !== "EPERM") throw error;
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return;
    if (!stats.isDirectory()) throw error;
    emptyDirectory(path);
    rmdirSync(path);
  }
}

/** Lets the owner of a tree, who is not root, delete what is in its directories. Leaves those of others alone. */
export function unlockTree(path: FsPath): void {
  const ahead: FsPath[] = [path];
  for (let at = ahead.pop(); at !== undefined; at = ahead.pop()) {
    const stats = lstatSync(at, { throwIfNoEntry: false });
    if (stats?.isDirectory() !== true || stats.uid !== process.geteuid?.()) continue;
    if ((stats.mode & OWNER_ALL) !== OWNER_ALL) chmodSync(at, OWNER_ALL);
    for (const entry of readdirSync(at, { encoding: "buffer", withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      ahead.push(Buffer.concat([Buffer.from(at), SLASH, entry.name as unknown as Buffer]));
    }
  }
}

/** Deletes everything below a directory, however deep. */
export function emptyDirectory(path: FsPath): void {
  const top = Buffer.from(path);
  // Directories still to empty, each behind the one that it stands in. One is read again after what it holds is gone,
  // so the topmost comes last and finds what was moved there.
  const stack: Buffer[] = [top];
  for (let directory = stack.at(-1); directory !== undefined; directory = stack.at(-1)) {
    const inner: Buffer[] = [];
    for (const entry of readdirSync(directory, { encoding: "buffer", withFileTypes: true })) {
      const name = entry.name as unknown as Buffer;
      const child = Buffer.concat([directory, SLASH, name]);
      if (!entry.isDirectory()) unlinkSync(child);
      else if (child.length < LONG_PATH) inner.push(child);
      else {
        // Too long to go on below it: it goes on at the top, under a name that no image has,
        // nor a removal that was killed.
        const name = `/.\u0001tsbuild-${randomBytes(6).toString("hex")}`;
        const shallow = Buffer.concat([top, Buffer.from(name)]);
        renameSync(child, shallow);
      }
    }
    if (inner.length > 0) stack.push(...inner);
    else {
      stack.pop();
      if (!directory.equals(top)) rmdirSync(directory);
    }
  }
}
