import { TsbuildError } from "../../errors.js";
import type { FileEntry } from "../../oci/tree.js";

/**
 * What one item of a COPY puts at one path: an entry and, below a directory, what else. Asked for lazily, so that a plan
 * holds no list of files.
 */
export interface Contributor {
  /** Items in the order of the instruction: a later one wins. */
  readonly order: number;
  readonly entry: FileEntry;
  /**
   * What an existing directory makes of a directory: `keep` stays as it is, `time` takes the entry's time when something in
   * it changes, `merge` its owner, mode, time and attributes, `mode` its mode alone. `replace` is `merge` that also puts a file in a directory's place and the reverse,
   * where the others are errors.
   */
  readonly rule: "keep" | "time" | "mode" | "merge" | "replace";
  /** Everything that was in the directory before goes. */
  readonly opaque?: boolean;
  /** Sorted by their bytes. */
  names(): Iterable<string>;
  /** `undefined`: nothing of this item is there. */
  child(name: string): Contributor | undefined;
}

export interface Folded {
  /** What stands there in the end. */
  readonly entry: FileEntry | undefined;
  /** It is not what was there before: it has to be written. */
  readonly changed: boolean;
  /** What was in the directory before is hidden. */
  readonly opaque: boolean;
  /** Whose children count. */
  readonly directories: readonly Contributor[];
}

/** Puts entries one upon the other, as copying them one after the other would. @throws TsbuildError DOCKERFILE_INVALID on a conflict of types */
export function fold(
  path: string,
  before: FileEntry | undefined,
  contributors: readonly Contributor[],
): Folded {
  let entry = before;
  let changed = false;
  let opaque = false;
  let directories: Contributor[] = [];
  for (const contributor of contributors) {
    const next = contributor.entry;
    const replaces = contributor.rule === "replace";
    if (next.type !== "directory") {
      if (entry?.type === "directory" && !replaces) throw cannotReplaceDirectory(path);
      entry = next;
      changed = true;
      directories = [];
      continue;
    }
    if (entry === undefined || (entry.type !== "directory" && replaces)) {
      entry = next;
      changed = true;
    } else if (entry.type !== "directory") {
      throw cannotCopyToNonDirectory(path);
    } else if (contributor.rule === "mode") {
      changed ||= entry.mode !== next.mode;
      entry = { ...entry, mode: next.mode };
    } else if (contributor.rule === "time") {
      entry = { ...entry, mtimeNs: next.mtimeNs };
    } else if (contributor.rule !== "keep") {
      entry = merged(entry, next);
      changed = true;
    }
    if (contributor.opaque === true) {
      opaque = before?.type === "directory";
      directories = [];
    }
    directories.push(contributor);
  }
  return { entry, changed, opaque, directories };
}

export function cannotReplaceDirectory(path: string): TsbuildError {
  return new TsbuildError(
    "DOCKERFILE_INVALID",
    `tried to copy to ${shown(path)}: cannot replace to directory ${shown(path)} with file`,
  );
}

export function cannotCopyToNonDirectory(path: string): TsbuildError {
  return new TsbuildError(
    "DOCKERFILE_INVALID",
    `tried to copy to ${shown(path)}: cannot copy to non-directory: ${shown(path)}`,
  );
}

/** A path as messages show it. */
export function shown(path: string): string {
  return `/${path}`;
}

/** A copy sets attributes and removes none. */
function merged(before: FileEntry, next: FileEntry): FileEntry {
  if (before.xattrs.size === 0) return next;
  return { ...next, xattrs: new Map([...before.xattrs, ...next.xattrs]) };
}
