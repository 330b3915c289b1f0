import { TsbuildError } from "../../errors.js";
import { BadPatternError } from "../../internal/path-match.js";
import { compilePatterns, type PathPatterns } from "../../internal/path-patterns.js";
import type { Change } from "../../layer/types.js";
import { resolvePath } from "../../oci/resolve-path.js";
import type { FileEntry, FileType, Tree } from "../../oci/tree.js";
import { placeArchive } from "./archive-tree.js";
import { madeDirectoryMode } from "./chmod.js";
import { cannotCopyToNonDirectory, cannotReplaceDirectory, shown } from "./contributor.js";
import { directoryEntry, EMPTY_TREE, entryAt, type Transform } from "./entries.js";
import { baseName, destinationOf, join, parentOf, type Destination } from "./paths.js";
import { Plan } from "./plan.js";
import { copyFile, copyTree, type TreeSelection } from "./source-tree.js";
import type { CopyItem, CopyRequest, Owner } from "./types.js";

const ROOT: Owner = { uid: 0, gid: 0 };

/**
 * What a COPY or ADD changes, as the layer's entries: parents first, names sorted, the same on every machine. Where things
 * go is decided here; files are enumerated and opened while the result is iterated, once.
 * @throws TsbuildError CONTEXT_UNREADABLE when a source is missing; DOCKERFILE_INVALID when the destination cannot take it (some conflicts only while iterating)
 */
export function planCopy(request: CopyRequest): Iterable<Change> {
  const plan = new Plan(request.link === true ? EMPTY_TREE : request.root);
  const exclude = compileExclude(request.exclude ?? []);
  const destination = destinationOf(request.workdir, request.target);
  const placement = new Placement(plan, destination, request);
  for (const item of request.items) {
    if (item.kind === "archive") placeArchive(plan, item.archive, destination.path, request);
    else placement.put(selectItem(item, exclude));
  }
  return plan.changes();
}

/**
 * What a WORKDIR changes: the directory and its parents where they are missing, 0755, owned by the current user.
 * @throws TsbuildError DOCKERFILE_INVALID when a file is in the way
 */
export function planWorkdir(
  root: Tree,
  path: string,
  options: { readonly owner: Owner; readonly createdNs: bigint },
): Iterable<Change> {
  const plan = new Plan(root);
  plan.makeDirectories(destinationOf("", path).path, () =>
    directoryEntry(0o755, options.owner, options.createdNs),
  );
  return plan.changes();
}

/** What an item means before it has a place. */
export type Selected =
  | {
      readonly kind: "file";
      readonly name: string;
      readonly entry: FileEntry;
      /** Where it is in its source, links followed; absent for what is in none. */
      readonly path?: string;
    }
  | { readonly kind: "tree"; readonly entry: FileEntry; readonly selection: TreeSelection };

/** Finds an item in its source. @throws TsbuildError CONTEXT_UNREADABLE when it is not there */
export function selectItem(
  item: Exclude<CopyItem, { readonly kind: "archive" }>,
  exclude: PathPatterns | undefined,
): Selected {
  if (item.kind === "file") return item;
  const { tree } = item.source;
  const named = item.kind === "path" ? item.path : item.base;
  const base = follow(tree, named);
  const entry = base === undefined ? undefined : entryAt(tree, base);
  if (base === undefined || entry === undefined) throw notFound(item, named);
  if (item.kind === "path") {
    return entry.type === "directory"
      ? { kind: "tree", entry, selection: { tree, base, include: undefined, exclude } }
      : { kind: "file", name: baseName(named), entry, path: base };
  }
  const wanted = join(named, item.pattern);
  if (entry.type !== "directory") throw notFound(item, wanted);
  if (item.required && entryAt(tree, join(base, item.pattern)) === undefined) {
    throw notFound(item, wanted);
  }
  const include = compile([item.pattern === "" ? "**" : item.pattern], item.pattern);
  return { kind: "tree", entry, selection: { tree, base, include, exclude } };
}

/** The patterns of `--exclude`; `undefined` when there are none. @throws TsbuildError DOCKERFILE_INVALID */
export function compileExclude(patterns: readonly string[]): PathPatterns | undefined {
  return patterns.length === 0 ? undefined : compile(patterns, `--exclude=${patterns.join(" ")}`);
}

/** Where the items of one instruction go; found with the first one, since none of them can change it. */
class Placement {
  readonly #plan: Plan;
  readonly #destination: Destination;
  readonly #request: CopyRequest;
  #target: string | undefined;

  constructor(plan: Plan, destination: Destination, request: CopyRequest) {
    this.#plan = plan;
    this.#destination = destination;
    this.#request = request;
  }

  put(selected: Selected): void {
    const target = this.#resolve();
    const there = this.#plan.lstat(target)?.type;
    if (selected.kind === "file") this.#putFile(selected, target, there);
    else this.#putTree(selected, target, there);
  }

  #resolve(): string {
    if (this.#target !== undefined) return this.#target;
    const { path, isDirectory } = this.#destination;
    this.#makeDirectories(isDirectory ? path : parentOf(path));
    this.#target = resolvePath(this.#plan, path, "follow").path;
    return this.#target;
  }

  #putTree(
    { entry, selection }: Extract<Selected, { readonly kind: "tree" }>,
    target: string,
    there: FileType | undefined,
  ): void {
    if (there !== undefined && there !== "directory") throw cannotCopyToNonDirectory(target);
    if (there === undefined) this.#makeDirectories(target);
    const order = this.#plan.nextOrder();
    this.#plan.put(target, copyTree(selection, entry, order, this.#transform(order)));
  }

  #putFile(
    { name, entry }: Extract<Selected, { readonly kind: "file" }>,
    target: string,
    there: FileType | undefined,
  ): void {
    const path = there === "directory" ? join(target, name) : target;
    if (there === undefined) this.#makeDirectories(parentOf(path));
    if (this.#plan.lstat(path)?.type === "directory") throw cannotReplaceDirectory(path);
    const order = this.#plan.nextOrder();
    this.#plan.put(path, copyFile(entry, order, this.#transform(order)));
  }

  #transform(order: number): Transform {
    return { owner: this.#request.owner, chmod: this.#request.chmod, item: order };
  }

  #makeDirectories(path: string): void {
    const { owner = ROOT, chmod, createdNs } = this.#request;
    const made = directoryEntry(madeDirectoryMode(chmod), owner, createdNs);
    this.#plan.makeDirectories(path, () => made);
  }
}

/** `undefined` when a file stands in the way, or the links go round in circles: nothing is there. */
function follow(tree: Tree, path: string): string | undefined {
  try {
    return resolvePath(tree, path, "follow").path;
  } catch (error) {
    if (error instanceof TsbuildError) return undefined;
    throw error;
  }
}

function compile(patterns: readonly string[], shownAs: string): PathPatterns {
  try {
    return compilePatterns(patterns);
  } catch (error) {
    if (!(error instanceof BadPatternError)) throw error;
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to read the pattern ${shownAs}: ${error.message}`,
      { cause: error },
    );
  }
}

/** In BuildKit's words, which people search for. */
function notFound(
  item: CopyItem & { readonly kind: "path" | "parents" },
  path: string,
): TsbuildError {
  const { source } = item;
  const pattern = source.ignoredBy?.(path);
  return new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to copy from the ${source.name}: failed to compute cache key: ${JSON.stringify(shown(path))}: not found`,
    pattern === undefined
      ? {}
      : { hint: `the ignore file excludes it with the pattern ${JSON.stringify(pattern)}` },
  );
}
