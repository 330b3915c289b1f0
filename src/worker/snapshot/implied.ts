import { lstatSync } from "node:fs";
import { compareNames } from "../../layer/path-bytes.js";
import type { FileEntry } from "../../layer/types.js";
import type { FileCalls } from "../linux/files.js";
import { fsPath } from "../root-names.js";
import { liveEntry } from "../root-stats.js";
import { readXattrs } from "../root-xattrs.js";
import { openLowerDirectories } from "./lower-directories.js";

/** Directories that a layer only implies. */
export interface Implied {
  readonly paths: readonly string[];
  /** Topmost first. */
  readonly lowers: readonly string[];
}

/** Those of them that the layers below have as directories, as they have them, parents first. */
export function directoriesBelow(
  calls: FileCalls,
  { paths, lowers: places }: Implied,
): ReadonlyMap<string, FileEntry> {
  const lowers = openLowerDirectories(calls, places);
  const found = new Map<string, FileEntry>();
  for (const path of [...paths].sort(compareNames)) {
    const below = lowers.lookup(path);
    // Something else below is replaced by the directory, as in every overlay of unpacked layers.
    if (below.kind !== "directory") continue;
    const at = fsPath(below.places[0] ?? "");
    const stats = lstatSync(at, { bigint: true });
    found.set(path, liveEntry(at, stats, readXattrs(calls, at, "overlay").xattrs));
  }
  return found;
}
