import { TsbuildError } from "../../errors.js";
import { BadPatternError } from "../../internal/path-match.js";
import { compilePatterns, type PathPatterns } from "../../internal/path-patterns.js";
import type { Change } from "../../layer/types.js";
import { resolvePath } from "../../oci/resolve-path.js";
import type { FileEntry, Tree } from "../../oci/tree.js";
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
  for (const item of request.items) {
    if (item.kind === "archive") placeArchive(plan, item.archive, destination.path, request);
    else place(plan, selectItem(item, exclude), destination, request);
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

function place(
  plan: Plan,
  selected: Selected,
  destination: Destination,
  request: CopyRequest,
): void {
  const { owner = ROOT, chmod, createdNs } = request;
  const made = (mtimeNs: bigint) => directoryEntry(madeDirectoryMode(chmod), owner, mtimeNs);
  const ensured = destination.isDirectory ? destination.path : parentOf(destination.path);
  plan.makeDirectories(ensured, () => made(createdNs));
  const target = resolvePath(plan, destination.path, "follow").path;
  const there = plan.lstat(target);
  const order = plan.nextOrder();
  const transform: Transform = { owner: request.owner, chmod, item: order };

  if (selected.kind === "tree") {
    if (there !== undefined && there.type !== "directory") throw cannotCopyToNonDirectory(target);
    // A directory that is made for a copy has the time of the one that was copied.
    plan.makeDirectories(target, (path) =>
      made(path === target ? selected.entry.mtimeNs : createdNs),
    );
    plan.put(target, copyTree(selected.selection, selected.entry, plan.nextOrder(), transform));
    return;
  }
  const path = there?.type === "directory" ? join(target, selected.name) : target;
  plan.makeDirectories(parentOf(path), () => made(createdNs));
  if (plan.lstat(path)?.type === "directory") throw cannotReplaceDirectory(path);
  plan.put(path, copyFile(selected.entry, plan.nextOrder(), transform));
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
