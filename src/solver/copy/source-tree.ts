import type { PathPatterns, ParentMatch } from "../../internal/path-patterns.js";
import type { FileEntry, Tree } from "../../oci/tree.js";
import type { Contributor } from "./contributor.js";
import { entryAt, transformed, type Transform } from "./entries.js";
import { join } from "./paths.js";

/** What of a directory is copied. */
export interface TreeSelection {
  readonly tree: Tree;
  /** The directory whose content is copied, links followed; the root is "". */
  readonly base: string;
  /** Of `--parents`: only what matches, with the directories above it. */
  readonly include: PathPatterns | undefined;
  /** Of `--exclude`. */
  readonly exclude: PathPatterns | undefined;
}

interface Matches {
  readonly include: ParentMatch | undefined;
  readonly exclude: ParentMatch | undefined;
}

const AT_TOP: Matches = { include: undefined, exclude: undefined };

/** The content of a directory as a contributor: the directory itself gives its time alone to one that exists. */
export function copyTree(
  selection: TreeSelection,
  top: FileEntry,
  order: number,
  transform: Transform,
): Contributor {
  const walk: Walk = { selection, order, transform, holds: new Map() };
  return directory(walk, "", transformed(top, transform), "time", AT_TOP);
}

/** One file as a contributor. */
export function copyFile(entry: FileEntry, order: number, transform: Transform): Contributor {
  return leaf(transformed(entry, transform), order);
}

export function leaf(entry: FileEntry, order: number): Contributor {
  return { order, entry, rule: "merge", names: () => [], child: () => undefined };
}

interface Walk {
  readonly selection: TreeSelection;
  readonly order: number;
  readonly transform: Transform;
  /** Of directories that are not selected themselves: whether anything below them is. */
  readonly holds: Map<string, boolean>;
}

function directory(
  walk: Walk,
  path: string,
  entry: FileEntry,
  rule: "time" | "mode" | "merge",
  matches: Matches,
): Contributor {
  const { tree, base } = walk.selection;
  return {
    order: walk.order,
    entry,
    rule,
    names: () => tree.list(join(base, path)),
    child: (name) => childOf(walk, join(path, name), matches),
  };
}

function childOf(walk: Walk, path: string, parent: Matches): Contributor | undefined {
  const { tree, base, include, exclude } = walk.selection;
  const entry = entryAt(tree, join(base, path));
  if (entry === undefined) return undefined;
  const isDirectory = entry.type === "directory";
  const matches: Matches = isDirectory
    ? { include: room(include), exclude: room(exclude) }
    : AT_TOP;
  const included = include?.match(path, parent.include, matches.include) ?? true;
  const excluded = exclude?.match(path, parent.exclude, matches.exclude) ?? false;
  if (included && !excluded) {
    const written = transformed(entry, walk.transform);
    return isDirectory
      ? directory(walk, path, written, "merge", matches)
      : leaf(written, walk.order);
  }
  if (!isDirectory) return undefined;
  if (excluded && exclude?.mayReachBelow(path, true) !== true) return undefined;
  if (!included && include?.mayReachBelow(path, false) !== true) return undefined;
  return onTheWay(walk, path, entry, matches);
}

/** A directory that is made only for the sake of something below it: of one that exists it changes the mode. */
function onTheWay(
  walk: Walk,
  path: string,
  entry: FileEntry,
  matches: Matches,
): Contributor | undefined {
  const contributor = directory(walk, path, transformed(entry, walk.transform), "mode", matches);
  let holds = walk.holds.get(path);
  if (holds === undefined) {
    holds = [...contributor.names()].some((name) => contributor.child(name) !== undefined);
    walk.holds.set(path, holds);
  }
  return holds ? contributor : undefined;
}

function room(patterns: PathPatterns | undefined): ParentMatch | undefined {
  return patterns === undefined ? undefined : new Uint8Array(patterns.size);
}
