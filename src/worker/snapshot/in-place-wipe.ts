import { lstatSync, readdirSync } from "node:fs";
import { joinPath } from "../../layer/entry-path.js";
import { atRoot, exactNames } from "../root-names.js";
import { removeTreeSync } from "../root-remove.js";
import type { Keep } from "./in-place-keep.js";

/**
 * Deletes everything below a directory but what is kept and the directories above that. Never follows a symlink. The
 * process's working directory is "/".
 */
export function emptyAround(path: string, keep: Keep): void {
  const at = atRoot(path);
  const names = exactNames({
    text: () => readdirSync(at),
    bytes: () => readdirSync(at, "buffer"),
  });
  for (const name of names) removeAround(joinPath(path, name), keep);
}

/** The same with what is at the path itself. */
export function removeAround(path: string, keep: Keep): void {
  if (keep.isKept(path)) return;
  if (!keep.holdsKept(path)) return removeTreeSync(atRoot(path));
  const stats = lstatSync(atRoot(path), { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (stats.isDirectory()) emptyAround(path, keep);
  // A symlink may be how the builder itself gets to what is kept.
  else if (!stats.isSymbolicLink()) removeTreeSync(atRoot(path));
}
