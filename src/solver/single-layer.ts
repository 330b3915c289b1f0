import { compareNames } from "../layer/path-bytes.js";
import type { Change } from "../layer/types.js";
import type { FileEntry, Tree } from "../oci/tree.js";
import type { History, Image, Layer } from "../oci/types.js";
import type { SealOptions } from "../worker/types.js";
import type { Layers } from "./layers.js";
import { packSealed } from "./pack.js";
import type { SolveInput } from "./types.js";

export interface SingleLayerInput {
  readonly layers: Layers;
  readonly input: SolveInput;
  readonly seal: SealOptions;
}

/** The same image, with all that this build has added to its base in one layer. */
export async function inOneLayer(
  image: Image,
  { layers, input, seal }: SingleLayerInput,
): Promise<Image> {
  const first = image.layers.findIndex(isMade);
  if (first < 0) return image;
  const base = { ...image, layers: image.layers.slice(0, first) };
  const added = { ...image, layers: image.layers.slice(first) };
  await using contents = await layers.contents(image, "the build's layers");
  const trees = {
    before: await layers.tree(base),
    added: await layers.tree(added),
    after: contents.tree,
  };
  const changes = [...changesBetween(trees)].sort((a, b) => compareNames(a.path, b.path));
  await contents.prepare(changes);
  const { descriptor, diffId } = await packSealed(changes, seal, input);
  return {
    ...image,
    layers: [...base.layers, { descriptor, diffId }],
    history: withOneLayer(image.history, added.layers.length),
  };
}

/** A layer that came from nowhere else, or from a cache. */
function isMade({ origin, open, isMade: known }: Layer): boolean {
  return known === true || (origin === undefined && open === undefined);
}

interface Trees {
  readonly before: Tree;
  /** Of the added layers alone: says where to look. */
  readonly added: Tree;
  readonly after: Tree;
}

function* changesBetween({ before, added, after }: Trees): Generator<Change> {
  const ahead = [""];
  for (let path = ahead.pop(); path !== undefined; path = ahead.pop()) {
    const entry = after.lstat(path);
    if (entry === undefined) continue;
    if (path !== "" || !sameRoot(before.lstat(""), entry)) yield { kind: "write", path, entry };
    if (entry.type !== "directory") continue;
    if (before.lstat(path)?.type === "directory") yield* removals(path, before, after);
    for (const name of added.list(path)) ahead.push(path === "" ? name : `${path}/${name}`);
  }
}

function* removals(path: string, before: Tree, after: Tree): Generator<Change> {
  const left = new Set(after.list(path));
  for (const name of before.list(path)) {
    if (!left.has(name)) yield { kind: "remove", path: path === "" ? name : `${path}/${name}` };
  }
}

/** Its time alone is no change. */
function sameRoot(a: FileEntry | undefined, b: FileEntry): boolean {
  return (
    a?.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.xattrs.size === b.xattrs.size
  );
}

/** Of the last steps that made a layer, `count` of them, only the last one has it. */
function withOneLayer(history: readonly History[], count: number): readonly History[] {
  const made = history.flatMap(({ emptyLayer }, at) => (emptyLayer ? [] : [at])).slice(-count);
  const empty = new Set(made.slice(0, -1));
  return history.map((entry, at) => (empty.has(at) ? { ...entry, emptyLayer: true } : entry));
}
