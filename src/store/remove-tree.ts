import { constants, unlinkSync } from "node:fs";
import { type FileHandle, chmod, open, readFile, readdir, realpath, rmdir } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { errnoOf } from "../errors.js";

/** Files deleted in one go, without the slower way over the pool; the event loop waits some milliseconds. */
const BATCH = 256;
/** open(2), O_PATH: Node has no name for it. The same on every processor that Node runs on under Linux. */
const O_PATH = 0o10000000;
const DIRECTORY_ITSELF = constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Whether something is mounted at or below a directory, as this process sees it; so also when nobody can say. */
async function mayHaveMounts(directory: string): Promise<boolean> {
  let text: string;
  try {
    text = await readFile("/proc/self/mountinfo", "utf8");
  } catch {
    return true;
  }
  return text.split("\n").some((line) => {
    // proc_pid_mountinfo(5): the fifth field, with octal escapes for blanks.
    const point = (line.split(" ")[4] ?? "").replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    return point === directory || point.startsWith(directory + sep);
  });
}

/** The directory behind a descriptor, under a name that nobody can move or replace. */
function pathOf(handle: FileHandle): string {
  return `/proc/self/fd/${handle.fd}`;
}

/** Opens a directory, not a symlink to one; makes it readable to its owner where it is not. */
async function openDirectory(path: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | DIRECTORY_ITSELF;
  try {
    return await open(path, flags);
  } catch (error) {
    if (errnoOf(error) !== "EACCES") throw error;
    const reference = await open(path, O_PATH | DIRECTORY_ITSELF);
    try {
      await chmod(pathOf(reference), 0o700);
    } finally {
      await reference.close();
    }
    return open(path, flags);
  }
}

function tryUnlink(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Its directory then stays, and says so.
  }
}

async function removeDirectory(path: string): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await openDirectory(path);
  } catch (error) {
    return errnoOf(error) === "ENOENT";
  }
  try {
    const entries = await readdir(pathOf(handle), { withFileTypes: true });
    // A directory without write permission keeps its entries, also from its owner.
    if (entries.length > 0) await handle.chmod(0o700).catch(() => undefined);
    const files = entries.filter((entry) => !entry.isDirectory());
    const inside = (name: string): string => join(pathOf(handle), name);
    for (const [index, { name }] of files.entries()) {
      tryUnlink(inside(name));
      if (index % BATCH === BATCH - 1) await nextTurn();
    }
    for (const entry of entries) {
      if (entry.isDirectory()) await removeDirectory(inside(entry.name));
    }
  } catch {
    return false;
  } finally {
    await handle.close();
  }
  try {
    await rmdir(path);
    return true;
  } catch (error) {
    return errnoOf(error) === "ENOENT";
  }
}

/**
 * Deletes a directory as far as this process may: what belongs to other ids is left, and so is all of it while
 * something is mounted inside, since that would be deleted through the mount. Each directory is held open while its
 * entries go, so that one that is swapped for a symlink meanwhile leads nowhere else, and paths of any length work.
 * @param directory absolute
 * @returns whether it is gone
 */
export async function removeTree(directory: string): Promise<boolean> {
  let path: string;
  try {
    // The kernel names mount points without the symlinks on the way to them.
    path = join(await realpath(dirname(directory)), basename(directory));
  } catch (error) {
    return errnoOf(error) === "ENOENT";
  }
  return (await mayHaveMounts(path)) ? false : removeDirectory(path);
}
