import { type BigIntStats, lstatSync } from "node:fs";
import { join } from "node:path";
import { parentOf } from "../../layer/entry-path.js";
import { errnoOf } from "../../errors.js";
import type { FileCalls } from "../linux/files.js";
import { fsPath } from "../root-names.js";
import { OPAQUE } from "../root-xattrs.js";

/** What the merged view of lower directories has at a path. */
export type LowerEntry =
  | { readonly kind: "absent" }
  | { readonly kind: "other" }
  /** Where it lies, topmost first: the first one has its owner and mode. */
  | { readonly kind: "directory"; readonly places: readonly string[] };

/** What is no directory, in the layer that it can be seen of. */
export interface LowerFile {
  readonly place: string;
  readonly stats: BigIntStats;
}

/** Looks through lower directories as overlayfs does, without mounting them and without ever following a symlink. */
export interface LowerDirectories {
  lookup(path: string): LowerEntry;
  /** Those of the names in a directory that are there and no directories. Whiteouts are not there. */
  files(directory: string, names: readonly string[]): ReadonlyMap<string, LowerFile>;
  /** Runs what reads a place: see {@link openLowerDirectories}. */
  outside<T>(read: () => T): T;
}

const ABSENT: LowerEntry = { kind: "absent" };
const OTHER: LowerEntry = { kind: "other" };

/**
 * @param lowers Absolute paths, topmost first.
 * @param outside Runs what reads them: a thread inside another root leaves that root for it.
 */
export function openLowerDirectories(
  calls: FileCalls,
  lowers: readonly string[],
  outside: <T>(read: () => T) => T = (read) => read(),
): LowerDirectories {
  // Only directories, and only those that somebody asked about: a change set's own.
  const known = new Map<string, LowerEntry>([
    ["", lowers.length === 0 ? ABSENT : { kind: "directory", places: lowers }],
  ]);
  const lookup = (path: string): LowerEntry => {
    const found = known.get(path);
    if (found !== undefined) return found;
    const parent = lookup(parentOf(path));
    const entry =
      parent.kind === "directory" ? outside(() => find(calls, parent.places, path)) : ABSENT;
    known.set(path, entry);
    return entry;
  };
  const files = (directory: string, names: readonly string[]): ReadonlyMap<string, LowerFile> => {
    const parent = lookup(directory);
    if (parent.kind !== "directory") return new Map();
    return outside(() => findFiles(parent.places, names));
  };
  return { lookup, files, outside };
}

function findFiles(
  parents: readonly string[],
  names: readonly string[],
): ReadonlyMap<string, LowerFile> {
  const found = new Map<string, LowerFile>();
  for (const name of names) {
    for (const parent of parents) {
      const place = join(parent, name);
      const stats = lstat(place);
      if (stats === undefined) continue;
      if (!stats.isDirectory() && !isWhiteout(stats)) found.set(name, { place, stats });
      break;
    }
  }
  return found;
}

/** Each place is a real directory, so joining one name more cannot leave the layer. */
function find(calls: FileCalls, parents: readonly string[], path: string): LowerEntry {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const places: string[] = [];
  for (const parent of parents) {
    const place = join(parent, name);
    const stats = lstat(place);
    if (stats === undefined) continue;
    if (!stats.isDirectory()) {
      if (places.length > 0) break;
      return isWhiteout(stats) ? ABSENT : OTHER;
    }
    places.push(place);
    if (calls.getXattr(fsPath(place), OPAQUE)?.toString() === "y") break;
  }
  return places.length === 0 ? ABSENT : { kind: "directory", places };
}

function isWhiteout(stats: BigIntStats): boolean {
  return stats.isCharacterDevice() && stats.rdev === 0n;
}

function lstat(place: string): BigIntStats | undefined {
  try {
    return lstatSync(fsPath(place), { throwIfNoEntry: false, bigint: true });
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}
