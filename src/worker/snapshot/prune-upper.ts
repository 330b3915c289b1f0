import { lstatSync, readdirSync, rmdirSync, unlinkSync, type BigIntStats } from "node:fs";
import { throwIfAborted } from "../../layer/abort.js";
import { joinPath } from "../../layer/entry-path.js";
import type { FileEntry } from "../../layer/types.js";
import type { FileCalls } from "../linux/files.js";
import { atRoot, exactNames, fsPath } from "../root-names.js";
import { liveEntry } from "../root-stats.js";
import { readXattrs } from "../root-xattrs.js";
import type { LowerDirectories, LowerFile } from "./lower-directories.js";
import { sameFile, sameXattrs } from "./same-file.js";

export interface PruneWalk {
  readonly calls: FileCalls;
  readonly lowers: LowerDirectories;
  readonly signal: AbortSignal;
}

/**
 * Deletes from an upper directory what is as the layers below have it: the kernel copies a file up when it is opened for
 * writing or its mode is set, whatever becomes of it, and a directory when something is made in it, if it is gone again
 * or not. A directory's time alone is no change, as with BuildKit. The thread's working directory is the upper directory, and
 * nothing has it mounted: afterwards it holds what its layer says, and may serve on any other base in that layer's place.
 */
export function pruneUpper(walk: PruneWalk): void {
  pruneDirectory(walk, "", lstatSync(".", { bigint: true }));
}

/** Only directories that the layers below have, too, and that do not hide them, can hold what is the same. */
function pruneDirectory(walk: PruneWalk, path: string, stats: BigIntStats): boolean {
  throwIfAborted(walk.signal);
  const names = namesIn(path);
  const files = walk.lowers.files(path, names);
  let left = names.length;
  for (const name of names) {
    const child = joinPath(path, name);
    const childStats = lstatSync(fsPath(child), { bigint: true });
    const gone = childStats.isDirectory()
      ? isCarried(walk, child, childStats) && pruneDirectory(walk, child, childStats)
      : pruneFile(walk, child, childStats, files.get(name));
    if (gone) left--;
  }
  const unchanged = left === 0 && path !== "" && sameDirectory(walk, path, stats);
  if (unchanged) rmdirSync(fsPath(path));
  // Deleting what it held gave the directory a new time.
  else if (left < names.length) walk.calls.utimes(atRoot(path), stats.mtimeNs);
  return unchanged;
}

function namesIn(path: string): readonly string[] {
  const at = atRoot(path);
  return exactNames({
    text: () => readdirSync(at),
    bytes: () => readdirSync(at, { encoding: "buffer" }),
  });
}

/** Whether layers below have a directory there that can be seen. */
function isCarried({ calls, lowers }: PruneWalk, path: string, stats: BigIntStats): boolean {
  if (lowers.lookup(path).kind !== "directory") return false;
  return stats.isDirectory() && !readXattrs(calls, fsPath(path), "overlay").opaque;
}

function pruneFile(
  walk: PruneWalk,
  path: string,
  stats: BigIntStats,
  lower: LowerFile | undefined,
): boolean {
  if (lower === undefined || !sameState(stats, lower.stats) || stats.nlink > 1n) return false;
  if (stats.size !== lower.stats.size || stats.mtimeNs !== lower.stats.mtimeNs) return false;
  const { calls, lowers } = walk;
  const entry = entryOf(calls, path, stats);
  const readLower = (): FileEntry => entryOf(calls, lower.place, lower.stats);
  if (!sameFile(entry, readLower, (read) => lowers.outside(read))) return false;
  unlinkSync(fsPath(path));
  return true;
}

function sameDirectory(walk: PruneWalk, path: string, stats: BigIntStats): boolean {
  const below = walk.lowers.lookup(path);
  const place = below.kind === "directory" ? below.places[0] : undefined;
  if (place === undefined) return false;
  const now = readXattrs(walk.calls, fsPath(path), "overlay").xattrs;
  return walk.lowers.outside(() => {
    const before = lstatSync(fsPath(place), { bigint: true });
    if (!sameState(stats, before)) return false;
    return sameXattrs(now, readXattrs(walk.calls, fsPath(place), "overlay").xattrs);
  });
}

/** Type, mode, owner and device number. */
function sameState(a: BigIntStats, b: BigIntStats): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.rdev === b.rdev;
}

function entryOf(calls: FileCalls, path: string, stats: BigIntStats): FileEntry {
  const at = fsPath(path);
  return liveEntry(at, stats, readXattrs(calls, at, "overlay").xattrs);
}
