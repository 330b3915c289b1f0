import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { link, lstat, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf } from "../errors.js";
import { isAbandonedTemporary } from "../internal/atomic-file.js";
import { currentProcess } from "../internal/process-identity.js";
import { isAbandoned, ownedName } from "./staging.js";

/** Begins the name of a directory that is being deleted, beside what it was: its owners may not let it go further. */
export const REMOVED = "removed-";

/** Directories whose entries are trees, which take time to delete. */
function treeParents(root: string): readonly string[] {
  const perIdMap = ["layers", "caches"].flatMap((kind) =>
    namesIn(join(root, kind)).map((name) => join(root, kind, name)),
  );
  return [...perIdMap, join(root, "git")];
}

/** What was to be deleted by processes that are dead. */
export async function abandonedRemovals(root: string): Promise<readonly string[]> {
  const self = currentProcess();
  const found: string[] = [];
  for (const parent of treeParents(root)) {
    for (const name of namesIn(parent)) {
      if (!name.startsWith(REMOVED)) continue;
      const path = join(parent, name);
      if (await isAbandoned(path, name.slice(REMOVED.length), self)) found.push(path);
    }
  }
  return found;
}

/** Files that processes that are dead were about to rename. */
export function abandonedTemporaries(root: string): readonly string[] {
  const self = currentProcess();
  return [root, join(root, "downloads")].flatMap((directory) =>
    namesIn(directory)
      .filter((name) => isAbandonedTemporary(name, self))
      .map((name) => join(directory, name)),
  );
}

/** Moves something away in one step, so that no build finds half of it. Gives where it is now. Throws the system's error. */
export async function moveAway(path: string, isTree: boolean, staging: string): Promise<string> {
  const away = isTree
    ? join(dirname(path), `${REMOVED}${ownedName()}`)
    : join(staging, `removed-${randomBytes(6).toString("hex")}`);
  await rename(path, away);
  return away;
}

/** Undoes {@link moveAway}, unless a build has put the same there meanwhile. */
export async function putBack(path: string, away: string, isTree: boolean): Promise<void> {
  if (isTree) {
    await rename(away, path).catch((error: unknown) => {
      if (errnoOf(error) !== "ENOTEMPTY" && errnoOf(error) !== "EEXIST") throw error;
    });
    return;
  }
  try {
    await link(away, path);
    await unlink(away);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return;
    // A filesystem without hard links.
    if ((await lstat(path).catch(() => undefined)) === undefined) await rename(away, path);
  }
}

/** Of a directory that may be absent, or closed to this process. */
export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).toSorted((a, b) => (a < b ? -1 : 1));
  } catch {
    return [];
  }
}
