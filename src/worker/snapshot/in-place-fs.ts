import { lstatSync } from "node:fs";
import { parentOf } from "../../layer/entry-path.js";
import type { FileEntry, FileWriter } from "../../layer/types.js";
import type { LiveRootFs } from "../root-fs.js";
import { atRoot } from "../root-names.js";
import { hasRealParents } from "../root-stats.js";
import type { Keep } from "./in-place-keep.js";
import { emptyAround, removeAround } from "./in-place-wipe.js";

/** What every image has and no step misses: its own is mounted there. */
const EXPECTED = /^(dev|proc|sys)(\/|$)|^etc\/(hosts|hostname|resolv\.conf)$|^\.dockerenv$/;
const NO_WRITER: FileWriter = { write: () => undefined, close: () => undefined };

/**
 * Unpacks over "/" and around what is kept: nothing is written there or through it. Paths have no symlinks among their
 * parents, for unpacking puts directories in the place of these; where a hard link leads is looked at here.
 */
export function keepingRootFs(rootFs: LiveRootFs, keep: Keep): LiveRootFs {
  /** By the topmost kept path: how many entries were left out. */
  const left = new Map<string, number>();
  const leave = (path: string): void => {
    if (EXPECTED.test(path)) return;
    const top = topmostKept(path, keep);
    left.set(top, (left.get(top) ?? 0) + 1);
  };
  const blocked: string[] = [];
  const create = (path: string, entry: FileEntry): FileWriter | undefined => {
    if (keep.isKept(path)) {
      if (entry.type !== "directory") leave(path);
      return entry.type === "file" ? NO_WRITER : undefined;
    }
    if (entry.type !== "directory" && keep.holdsKept(path) && isDirectory(path)) {
      blocked.push(`/${path}: stays a directory, for something of this container is below it`);
      return entry.type === "file" ? NO_WRITER : undefined;
    }
    if (entry.type === "hardlink" && !isOwn(entry.linkTarget ?? "", keep)) {
      blocked.push(`/${path}: its link target /${entry.linkTarget} is not the image's`);
      return undefined;
    }
    return rootFs.create(path, entry);
  };
  return {
    typeOf: (path) => rootFs.typeOf(path),
    create,
    remove: (path) => (keep.holdsKept(path) ? removeAround(path, keep) : removeUnlessKept(path)),
    empty: (path) => (keep.holdsKept(path) ? emptyAround(path, keep) : emptyUnlessKept(path)),
    list: (path) => rootFs.list(path),
    whiteout: (path) => rootFs.whiteout(path),
    opaque: (path) => rootFs.opaque(path),
    finish: () => rootFs.finish(),
    get skipped() {
      const kept = [...left].map(
        ([path, count]) => `/${path}: ${count} of the image's files are not seen there, in place`,
      );
      return [...rootFs.skipped, ...blocked, ...kept];
    },
    [Symbol.dispose]: () => rootFs[Symbol.dispose](),
  };

  function removeUnlessKept(path: string): void {
    if (!keep.isKept(path)) rootFs.remove(path);
  }

  function emptyUnlessKept(path: string): void {
    if (!keep.isKept(path)) rootFs.empty(path);
  }
}

function topmostKept(path: string, keep: Keep): string {
  for (let top = path; ; top = parentOf(top)) {
    if (top === "" || !keep.isKept(parentOf(top))) return top;
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(atRoot(path), { throwIfNoEntry: false })?.isDirectory() === true;
}

/** A symlink of a lower layer among the parents would lead the kernel wherever it says. */
function isOwn(target: string, keep: Keep): boolean {
  return !keep.isKept(target) && hasRealParents(target, atRoot);
}
