import type { FileSource } from "../../context/types.js";
import { TsbuildError } from "../../errors.js";
import { compareBytes } from "../../internal/compare-bytes.js";
import {
  BadPatternError,
  compileGlob,
  hasWildcards,
  matchGlob,
} from "../../internal/path-match.js";
import { resolvePath } from "../../oci/resolve-path.js";
import type { Tree } from "../../oci/tree.js";
import { cleanRelative, join } from "./paths.js";
import type { CopyItem } from "./types.js";

/**
 * The items that a source word of COPY or ADD stands for, once its variables are expanded: itself, or what its wildcards
 * match (Go's `filepath.Match`, element by element, links not followed; perhaps nothing). Paths are relative to the root of
 * the source and cannot leave it. With `parents`, everything before `/./` is left out of the result.
 * @throws TsbuildError DOCKERFILE_INVALID for a malformed pattern; CONTEXT_UNREADABLE when the directory before the first wildcard is missing
 */
export async function expandSource(
  source: FileSource,
  word: string,
  options: { readonly parents: boolean; readonly signal: AbortSignal },
): Promise<readonly CopyItem[]> {
  options.signal.throwIfAborted();
  if (!options.parents) {
    const paths = await expandPath(source, cleanRelative(word));
    return paths.map((path) => ({ kind: "path", source, path }));
  }
  const pivot = word.indexOf("/./");
  const base = cleanRelative(pivot < 0 ? "" : word.slice(0, pivot));
  const pattern = cleanRelative(pivot < 0 ? word : word.slice(pivot + 3));
  const required = !hasWildcards(base) && !hasWildcards(pattern);
  const found = await expandPath(source, base);
  // A wildcard before the pivot stands for directories.
  const bases = hasWildcards(base)
    ? found.filter((one) => resolvePath(source.tree, one, "follow").entry?.type === "directory")
    : found;
  return bases.map((one) => ({ kind: "parents", source, base: one, pattern, required }));
}

async function expandPath(source: FileSource, path: string): Promise<readonly string[]> {
  if (!hasWildcards(path)) return [path];
  const elements = path.split("/");
  const first = elements.findIndex(hasWildcards);
  const literal = elements.slice(0, first).join("/");
  const { path: base, entry } = resolvePath(source.tree, literal, "follow");
  if (entry === undefined) {
    throw new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to copy ${JSON.stringify(`/${path}`)} from the ${source.name}: ${JSON.stringify(`/${literal}`)}: not found`,
    );
  }
  const rest = elements.slice(first);
  const match = matcher(rest.join("/"), path);
  const candidates =
    (await source.candidates?.(base, rest.join("/"))) ?? walk(source.tree, base, rest);
  const below = base === "" ? 0 : base.length + 1;
  return [...candidates]
    .filter((name) => match(name.slice(below)) && source.tree.lstat(name) !== undefined)
    .sort(byElements);
}

/** What has as many elements as the pattern, by way of those that its elements match one by one. */
function* walk(tree: Tree, base: string, elements: readonly string[]): Generator<string> {
  const [element, ...rest] = elements;
  if (element === undefined) return;
  const glob = safely(element);
  for (const name of tree.list(base)) {
    if (glob !== undefined && !glob(name)) continue;
    const path = join(base, name);
    if (rest.length === 0) yield path;
    else if (tree.lstat(path)?.type === "directory") yield* walk(tree, path, rest);
  }
}

/** A class that holds a slash is no element: then every name is a candidate. */
function safely(element: string): ((name: string) => boolean) | undefined {
  try {
    return matcher(element, element);
  } catch {
    return undefined;
  }
}

function matcher(pattern: string, shown: string): (name: string) => boolean {
  try {
    const glob = compileGlob(pattern, false);
    return (name) => matchGlob(glob, name);
  } catch (error) {
    if (!(error instanceof BadPatternError)) throw error;
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to match the source ${JSON.stringify(shown)}: ${error.message}`,
      { hint: "write [[] for a literal bracket", cause: error },
    );
  }
}

/** A directory's names before those of the next one, as a walk finds them. */
function byElements(a: string, b: string): number {
  const left = a.split("/");
  const right = b.split("/");
  for (const [i, element] of left.entries()) {
    const order = compareBytes(element, right[i] ?? "");
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
