import { TsbuildError } from "../../errors.js";
import { compareBytes } from "../../internal/compare-bytes.js";
import type { Change } from "../../layer/types.js";
import type { FileEntry, Tree } from "../../oci/tree.js";
import { resolvePath } from "../../oci/resolve-path.js";
import { fold, shown, type Contributor, type Folded } from "./contributor.js";
import { EMPTY_TREE } from "./entries.js";
import { join, prefixes } from "./paths.js";
import { leaf } from "./source-tree.js";

/** Where contributors stand in the image. */
interface Node {
  readonly contributors: Contributor[];
  readonly children: Map<string, Node>;
}

/**
 * A layer in the making: a root filesystem and what is put upon it, in order. As a tree it is what will be there; its
 * changes are what a layer has to carry. Holds the places, never the files: those are enumerated when they are asked for.
 */
export class Plan implements Tree {
  readonly #root: Tree;
  readonly #top: Node = newNode();
  #order = 0;

  constructor(root: Tree) {
    this.#root = root;
  }

  /** For the next item. */
  nextOrder(): number {
    return this.#order++;
  }

  /** Puts something at a path whose parents are directories. */
  put(path: string, contributor: Contributor): void {
    let node = this.#top;
    for (const name of parts(path)) {
      let next = node.children.get(name);
      if (next === undefined) node.children.set(name, (next = newNode()));
      node = next;
    }
    // A file leaves nothing of the file before it.
    const last = node.contributors.at(-1);
    const replaces = contributor.entry.type !== "directory" && contributor.rule === "merge";
    if (replaces && last !== undefined && last.entry.type !== "directory") node.contributors.pop();
    node.contributors.push(contributor);
  }

  /**
   * Makes the directory and its parents where they are missing, links in the path followed inside the root.
   * @returns where it really is
   * @throws TsbuildError DOCKERFILE_INVALID when something else is in the way
   */
  makeDirectories(path: string, make: (path: string) => FileEntry): string {
    const real = resolvePath(this, path, "follow").path;
    for (const directory of prefixes(real)) {
      const entry = this.lstat(directory);
      if (entry?.type === "directory") continue;
      if (entry !== undefined) throw notADirectory(path, directory);
      this.put(directory, { ...leaf(make(directory), this.nextOrder()), rule: "keep" });
    }
    return real;
  }

  lstat(path: string): FileEntry | undefined {
    return this.#at(path)?.folded.entry;
  }

  list(path: string): readonly string[] {
    const found = this.#at(path);
    if (found?.folded.entry?.type !== "directory") return [];
    const names = new Set(found.baseVisible ? this.#root.list(path) : []);
    for (const name of childNames(found.node, found.folded.directories)) names.add(name);
    return [...names].filter((name) => this.lstat(join(path, name))).sort(compareBytes);
  }

  /** Only what the root itself has: a plan's own files are no configuration. */
  read(path: string): Uint8Array | undefined {
    return this.#at(path)?.folded.changed === true ? undefined : this.#root.read(path);
  }

  /** Parents first, names in the order of their bytes; directories that exist are carried along, as they are, for what changes below them. */
  *changes(): Generator<Change> {
    yield* this.#visit("", this.#top, this.#top.contributors, true, []);
  }

  *#visit(
    path: string,
    node: Node | undefined,
    contributors: readonly Contributor[],
    visible: boolean,
    waiting: Change[],
  ): Generator<Change> {
    const before = visible ? this.#before(path) : undefined;
    const folded = fold(path, before, contributors);
    if (folded.entry === undefined) return;
    const change: Change = { kind: "write", path, entry: folded.entry };
    // The root itself is everyone's: no layer describes it.
    if (path !== "") waiting.push(change);
    if (folded.changed && path !== "") yield* waiting.splice(0);
    if (folded.opaque) yield { kind: "opaque", path };
    if (folded.entry.type === "directory") {
      const below = before?.type === "directory" && !folded.opaque;
      for (const name of childNames(node, folded.directories)) {
        const child = node?.children.get(name);
        const theirs = contributorsOf(name, child, folded);
        yield* this.#visit(join(path, name), child, theirs, below, waiting);
      }
    }
    if (waiting.at(-1) === change) waiting.pop();
  }

  /** Every root is a directory, one without layers too. */
  #before(path: string): FileEntry | undefined {
    return this.#root.lstat(path) ?? (path === "" ? EMPTY_TREE.lstat("") : undefined);
  }

  #at(
    path: string,
  ):
    | { readonly folded: Folded; readonly node: Node | undefined; readonly baseVisible: boolean }
    | undefined {
    let node: Node | undefined = this.#top;
    let visible = true;
    let before = this.#before("");
    let folded = fold("", before, node.contributors);
    let at = "";
    for (const name of parts(path)) {
      if (folded.entry?.type !== "directory") return undefined;
      visible &&= before?.type === "directory" && !folded.opaque;
      node = node?.children.get(name);
      const theirs = contributorsOf(name, node, folded);
      at = join(at, name);
      before = visible ? this.#before(at) : undefined;
      folded = fold(at, before, theirs);
    }
    const baseVisible = visible && before?.type === "directory" && !folded.opaque;
    return { folded, node, baseVisible };
  }
}

/** What is put at a name: by the directories around it, and at this place itself, each in its turn. */
function contributorsOf(
  name: string,
  node: Node | undefined,
  parent: Folded,
): readonly Contributor[] {
  const inherited = parent.directories.flatMap((directory) => directory.child(name) ?? []);
  if (node === undefined || node.contributors.length === 0) return inherited;
  if (inherited.length === 0) return node.contributors;
  return [...inherited, ...node.contributors].sort((a, b) => a.order - b.order);
}

/** A single list is not gathered first: it may be a million names long. */
function childNames(node: Node | undefined, directories: readonly Contributor[]): Iterable<string> {
  const lists = directories
    .map((directory) => directory.names())
    .filter((names) => !Array.isArray(names) || names.length > 0);
  const places = node === undefined ? [] : [...node.children.keys()];
  if (places.length === 0 && lists.length <= 1) return lists[0] ?? [];
  const names = new Set(places);
  for (const list of lists) for (const name of list) names.add(name);
  return [...names].sort(compareBytes);
}

function notADirectory(path: string, inTheWay: string): TsbuildError {
  return new TsbuildError(
    "DOCKERFILE_INVALID",
    `tried to create directory ${shown(path)}: ${shown(inTheWay)}: not a directory`,
  );
}

function parts(path: string): readonly string[] {
  return path === "" ? [] : path.split("/");
}

function newNode(): Node {
  return { contributors: [], children: new Map() };
}
