import { lstatSync, readFileSync, type Stats } from "node:fs";
import { join } from "node:path";
import { type DiskUsage, fileUsage } from "../internal/disk-usage.js";
import { namesIn, REMOVED } from "./removals.js";
import { GIT_MARK, type LivingBuild } from "./staging.js";

/** What a store holds, by what it is for. */
export const STORE_KINDS = [
  "blobs",
  "layers",
  "indexes",
  "caches",
  "records",
  "stat",
  "downloads",
  "git",
  "staging",
  "other",
] as const;
export type StoreKind = (typeof STORE_KINDS)[number];

/** One thing that comes and goes as a whole. */
export interface StoreThing {
  readonly kind: StoreKind;
  /** What it is called in lists: a digest, or the path below the kind's directory. */
  readonly name: string;
  readonly path: string;
  /** A directory. */
  readonly isTree: boolean;
  /** Of layers and cache mounts, whose files' owners on disk it decides. */
  readonly idMap?: string;
  /** The file whose time tells of its use, where that is not its own. */
  readonly mark?: string;
}

/** What tells one state of a thing from another. */
export interface ThingState {
  /** Milliseconds since 1970, of the last use. */
  readonly lastUsed: number;
  /** Changes whenever the thing is used, or another one takes its place. */
  readonly token: string;
  /** What it takes, unless it is a tree. */
  readonly usage?: DiskUsage;
}

/** A layer's mark is beside it: its own time is that of the image's root directory. */
export const LAYER_MARK = ".used";
const HEX = /^[0-9a-f]{64}$/;
/** Of one that is being written, and renamed then. */
const TEMPORARY = /\.tsbuild-/;

/** What is listed, and what is the store's own. */
const KNOWN: ReadonlySet<string> = new Set([
  ...STORE_KINDS,
  "version",
  "usage.json",
  "prune-lock",
  "taking",
]);

/** Everything in the store but staging directories. Never fails: what cannot be listed is left out. */
export function listThings(root: string): readonly StoreThing[] {
  const blobs = filesIn("blobs", join(root, "blobs", "sha256"));
  const indexes = filesIn("indexes", join(root, "indexes"));
  const records = filesBelow("records", join(root, "records"));
  const stats = filesBelow("stat", join(root, "stat"));
  const downloads = filesIn("downloads", join(root, "downloads"));
  const layers = treesOf("layers", root);
  const caches = treesOf("caches", root);
  const git = repositories(root);
  const others = namesIn(root)
    .filter((name) => !KNOWN.has(name) && !TEMPORARY.test(name))
    .map((name) => thing("other", name, join(root, name), true));
  // Of a file that is in two of them, the first has the bytes.
  return [blobs, layers, indexes, caches, records, stats, downloads, git, others].flat();
}

function thing(kind: StoreKind, name: string, path: string, isTree = false): StoreThing {
  return { kind, name, path, isTree };
}

function filesIn(kind: StoreKind, directory: string): StoreThing[] {
  return namesIn(directory)
    .filter((name) => !TEMPORARY.test(name))
    .map((name) => thing(kind, HEX.test(name) ? `sha256:${name}` : name, join(directory, name)));
}

/** Files in directories, as deep as there are any. */
function filesBelow(kind: StoreKind, directory: string): StoreThing[] {
  const found: StoreThing[] = [];
  const ahead = [""];
  for (let at = ahead.pop(); at !== undefined; at = ahead.pop()) {
    for (const name of namesIn(join(directory, at))) {
      const below = join(at, name);
      const path = join(directory, below);
      const stats = look(path);
      if (stats?.isDirectory() === true) ahead.push(below);
      else if (stats !== undefined && !TEMPORARY.test(name)) found.push(thing(kind, below, path));
    }
  }
  return found;
}

/** Unpacked layers or cache mounts, of every id map. */
function treesOf(kind: "layers" | "caches", root: string): StoreThing[] {
  const found: StoreThing[] = [];
  for (const idMap of namesIn(join(root, kind))) {
    const parent = join(root, kind, idMap);
    for (const name of namesIn(parent)) {
      if (name.startsWith(REMOVED) || name.endsWith(LAYER_MARK)) continue;
      const path = join(parent, name);
      const mark = kind === "layers" ? { mark: `${path}${LAYER_MARK}` } : {};
      found.push({ ...thing(kind, `${idMap}/${name}`, path, true), idMap, ...mark });
    }
  }
  return found;
}

function repositories(root: string): StoreThing[] {
  const parent = join(root, "git");
  return namesIn(parent)
    .filter((name) => name !== GIT_MARK && !name.startsWith(REMOVED))
    .map((name) => ({
      ...thing("git", name, join(parent, name), true),
      mark: join(parent, GIT_MARK),
    }));
}

/** As it is now; `undefined` when it is gone. Of thousands of things, without the way over the thread pool. */
export function stateOf(one: StoreThing): ThingState | undefined {
  const own = look(one.path);
  if (own === undefined) return undefined;
  const mark = one.mark === undefined ? undefined : look(one.mark);
  const token = [own.ino, one.kind === "layers" ? "" : own.mtimeMs, mark?.mtimeMs ?? ""].join(" ");
  const usage = one.isTree ? {} : { usage: fileUsage(own) };
  return { lastUsed: lastUse(one, own, mark), token, ...usage };
}

function look(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function lastUse({ kind }: StoreThing, own: Stats, mark: Stats | undefined): number {
  // A layer's own times are the image's, but for the one that says when it got its name.
  if (kind === "layers") return Math.max(mark?.mtimeMs ?? 0, own.ctimeMs);
  return own.mtimeMs;
}

/** Whether a build that lives may be using it: one that was there before the last use. */
export function isInUse(
  one: StoreThing,
  { lastUsed }: ThingState,
  living: readonly LivingBuild[],
): boolean {
  const oldest = Math.min(...living.map(({ began }) => began));
  if (lastUsed >= oldest) return true;
  if (one.kind !== "git" || one.mark === undefined) return false;
  return (look(one.mark)?.mtimeMs ?? 0) >= oldest;
}

/** The layers that a record refers to; a later version's may say more. `undefined` when it is none. */
export function referencesOf(
  record: string,
): readonly { readonly digest: string; readonly diffId: string }[] | undefined {
  try {
    const { layers = [] } = JSON.parse(readFileSync(record, "utf8")) as {
      readonly layers?: unknown;
    };
    if (!Array.isArray(layers)) return undefined;
    return layers.flatMap((layer: unknown) => {
      const { digest, diffId } = layer as Record<string, unknown>;
      return typeof digest === "string" && typeof diffId === "string" ? [{ digest, diffId }] : [];
    });
  } catch {
    return undefined;
  }
}
