import { chmod, readFile, readdir, rmdir, unlink } from "node:fs/promises";
import { join, sep } from "node:path";
import { errnoOf } from "../errors.js";

/** Mount points at or below a directory, as this process sees them. */
async function hasMounts(directory: string): Promise<boolean> {
  const text = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  return text.split("\n").some((line) => {
    // proc_pid_mountinfo(5): the fifth field, with octal escapes for blanks.
    const point = (line.split(" ")[4] ?? "").replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    return point === directory || point.startsWith(directory + sep);
  });
}

async function namesIn(directory: string): Promise<readonly (readonly [string, boolean])[]> {
  const read = async (): Promise<readonly (readonly [string, boolean])[]> =>
    (await readdir(directory, { withFileTypes: true })).map((one) => [one.name, one.isDirectory()]);
  try {
    return await read();
  } catch (error) {
    if (errnoOf(error) !== "EACCES") throw error;
    await chmod(directory, 0o700);
    return read();
  }
}

/** Counts what is left in `directory` afterwards. */
async function emptyDirectory(directory: string): Promise<number> {
  let names: readonly (readonly [string, boolean])[];
  try {
    names = await namesIn(directory);
    // A directory without write permission keeps its entries, also from its owner.
    if (names.length > 0) await chmod(directory, 0o700).catch(() => undefined);
  } catch (error) {
    return errnoOf(error) === "ENOENT" ? 0 : 1;
  }
  let left = 0;
  for (const [name, isDirectory] of names) {
    const path = join(directory, name);
    try {
      if (isDirectory) {
        left += await emptyDirectory(path);
        await rmdir(path);
      } else {
        await unlink(path);
      }
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") left += 1;
    }
  }
  return left;
}

/**
 * Deletes a directory as far as this process may: what belongs to other ids is left, and so is all of it while
 * something is mounted inside, since that would be deleted through the mount. Symlinks are not followed.
 * @returns whether it is gone
 */
export async function removeTree(directory: string): Promise<boolean> {
  if (await hasMounts(directory)) return false;
  if ((await emptyDirectory(directory)) > 0) return false;
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    return errnoOf(error) === "ENOENT";
  }
}
