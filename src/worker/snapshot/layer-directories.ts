import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { mkdir, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, TsbuildError } from "../../errors.js";
import { type DiffId, hexOf } from "../../oci/digest.js";
import { sizeOf } from "../open-blob.js";
import type { RootPlace, Unpacked, UnpackJob } from "../root-jobs.js";
import { OPAQUE, OPAQUE_VALUE } from "../root-xattrs.js";
import type { LayerBlob } from "../types.js";
import { hidesLayersBelow, markRootImplied } from "./root-state.js";
import type { SnapshotTools } from "./tools.js";

/** Bytes of a blob. Unpacking this much takes some 50 ms, starting a thread that hashes beside it some 20 ms. */
export const UNPACKING_WORTH_A_THREAD = 4 * 1024 * 1024;

/** A layer as a lower directory. */
export interface LayerDirectory {
  readonly path: string;
  readonly diffId: DiffId;
  /** Nothing of the layers below it is visible. */
  readonly hidesBelow: boolean;
}

/** What a layer stands on. */
export interface Below {
  /** Topmost first. */
  readonly diffIds: readonly DiffId[];
  /** The same as directories; they may still be in the making. */
  directories(): Promise<readonly LayerDirectory[]>;
}

/** Unpacked layers, kept in the store's directory and made when absent: each once, whoever asks. */
export interface LayerDirectories {
  unpacked(layer: LayerBlob, below: Below, signal: AbortSignal): Promise<LayerDirectory>;
  /** Takes an upper directory over as the layer that was sealed from it. */
  adopt(upper: SealedUpperDirectory, signal: AbortSignal): Promise<LayerDirectory>;
}

/** An upper directory that became a layer. */
export interface SealedUpperDirectory {
  readonly path: string;
  readonly describesRoot: boolean;
  /** The layer that was made of it. */
  readonly blob: LayerBlob;
  readonly below: Below;
}

/** Layers that become lower directories in another way. */
export interface OtherLayers {
  /** `undefined`: the layer has to be unpacked. Not to be called for one layer twice at a time. */
  find(wanted: Wanted, signal: AbortSignal): Promise<LayerDirectory | undefined>;
}

/** @param others Asked before a layer is unpacked. */
export function openLayerDirectories(tools: SnapshotTools, others?: OtherLayers): LayerDirectories {
  const last = new Map<DiffId, Promise<unknown>>();
  const inMemory: InMemory = new Map();
  return {
    async unpacked(layer, below, signal) {
      // Who comes second waits and then finds it, or unpacks by itself if the first was cancelled.
      const before = last.get(layer.diffId) ?? Promise.resolve();
      const made = before
        .catch(() => undefined)
        .then(() => findOrUnpack(tools, { inMemory, others }, { layer, below }, signal));
      last.set(layer.diffId, made);
      try {
        return await made;
      } finally {
        if (last.get(layer.diffId) === made) last.delete(layer.diffId);
      }
    },
    async adopt(upper, signal) {
      const { path, describesRoot, blob } = upper;
      if (!describesRoot) markRootImplied(tools.calls, path);
      if (tools.options.uppers !== undefined) return adoptMemory(tools, inMemory, upper, signal);
      return settle(tools, path, hexOf(blob.diffId), blob.diffId);
    },
  };
}

interface Sources {
  readonly inMemory: InMemory;
  readonly others: OtherLayers | undefined;
}

/** Directories that did not get into the store, by the names that they would have there. */
type InMemory = Map<string, LayerDirectory>;

/**
 * An upper directory in memory cannot be renamed into the store. While there is room it stays where it is, to the end
 * of the build; else the layer is unpacked into the store. Where that takes no whiteouts it stays all the same.
 */
async function adoptMemory(
  tools: SnapshotTools,
  inMemory: InMemory,
  { path, blob, below }: SealedUpperDirectory,
  signal: AbortSignal,
): Promise<LayerDirectory> {
  const stay = (): LayerDirectory => {
    const layer = describe(tools, path, blob.diffId);
    inMemory.set(hexOf(blob.diffId), layer);
    return layer;
  };
  if (!(await isFilling(tools))) return stay();
  try {
    const directory = tools.stagingPath(".layer");
    const unpacked = await unpackInto(tools, { layer: blob, below, directory }, settle, signal);
    await discard(tools, path);
    return unpacked;
  } catch (error) {
    if (signal.aborted || !isRefusedWhiteout(error)) throw error;
    return stay();
  }
}

/** Of the memory for upper directories, half is for those of the steps to come. */
async function isFilling({ options: { uppers } }: SnapshotTools): Promise<boolean> {
  if (uppers === undefined) return false;
  const { bavail, bsize } = await statfs(uppers.directory);
  return bavail * bsize < uppers.bytes / 2;
}

/** An overlay that is no mount of ours takes none: they are its own marks. */
function isRefusedWhiteout(error: unknown): boolean {
  return error instanceof TsbuildError && /\bmknod\b/.test(error.message);
}

/**
 * A layer whose tar lacks directories that its entries stand in cannot be shared by its own name alone: these
 * directories have to look like those of the layers below, here, or they would mask them.
 */
export function chainName(layer: LayerBlob, below: Below): string {
  const chain = [layer.diffId, ...below.diffIds].join("\n");
  return `chain-${createHash("sha256").update(chain).digest("hex")}`;
}

async function findOrUnpack(
  tools: SnapshotTools,
  { inMemory, others }: Sources,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<LayerDirectory> {
  const { layer, below } = wanted;
  for (const name of [hexOf(layer.diffId), chainName(layer, below)]) {
    const known = inMemory.get(name);
    if (known !== undefined) return known;
    const path = join(tools.options.layersDirectory, name);
    if ((await use(tools, path)) !== undefined) return describe(tools, path, layer.diffId);
  }
  const other = await others?.find(wanted, signal);
  if (other !== undefined) return other;
  try {
    const directory = tools.stagingPath(".layer");
    return await unpackInto(tools, { ...wanted, directory }, settle, signal);
  } catch (error) {
    const mayStay = tools.options.uppers !== undefined && isRefusedWhiteout(error);
    if (signal.aborted || !mayStay) throw error;
  }
  const stay: Settle = (_, directory, name, diffId) => {
    const made = describe(tools, directory, diffId);
    inMemory.set(name, made);
    return Promise.resolve(made);
  };
  return unpackInto(tools, { ...wanted, directory: tools.upperPath(".layer") }, stay, signal);
}

/** A layer, and what it is for. */
export interface Wanted {
  readonly layer: LayerBlob;
  readonly below: Below;
}

type Settle = typeof settle;

async function unpackInto(
  tools: SnapshotTools,
  { layer, below, directory }: Wanted & { readonly directory: string },
  keep: Settle,
  signal: AbortSignal,
): Promise<LayerDirectory> {
  await mkdir(directory);
  try {
    const unpacked = await unpack(tools, layer, { directory, form: "lower" }, signal);
    const implied = unpacked.impliedDirectories.filter((path) => path !== "");
    if (unpacked.impliedDirectories.includes("")) markRootImplied(tools.calls, directory);
    if (unpacked.opaqueRoot) tools.calls.setXattr(directory, OPAQUE, OPAQUE_VALUE);
    // Nothing below to look like, and nothing to be masked; but under another base there may be.
    if (implied.length === 0) {
      return await keep(tools, directory, hexOf(layer.diffId), layer.diffId);
    }
    const lowers = visiblePaths(await below.directories());
    const { singleId, idMap } = tools.options;
    const job = { directory, paths: implied, lowers, singleId, idMap };
    await tools.threads.run("imply", job, signal);
    return await keep(tools, directory, chainName(layer, below), layer.diffId);
  } catch (error) {
    await discard(tools, directory);
    throw error;
  }
}

/** Shared by everything that unpacks: the index goes to whoever takes it, refusals become warnings. */
export async function unpack(
  tools: SnapshotTools,
  layer: LayerBlob,
  where: RootPlace & Pick<UnpackJob, "form">,
  signal: AbortSignal,
): Promise<Unpacked> {
  const { singleId, idMap } = tools.options;
  const indexFile = tools.stagingPath(".index");
  const job = { ...where, layer, indexFile, singleId, idMap };
  let taken = false;
  try {
    const unpacked = await tools.threads.run("unpack", job, signal, {
      hashBeside: (await sizeOf(layer)) >= UNPACKING_WORTH_A_THREAD ? "at once" : "when much",
    });
    taken = tools.indexes.add(layer.diffId, indexFile);
    tools.warnings.add(unpacked.skipped);
    return unpacked;
  } finally {
    // Of an unpacking that failed, too. What cannot be deleted goes with the staging directory in the end.
    if (!taken) await rm(indexFile, { force: true }).catch(() => undefined);
  }
}

/**
 * Lower directories that a mount shows, of those given topmost first. The kernel refuses one that comes twice, and the
 * lower one of two equal layers adds nothing that the upper one has not.
 */
export function visiblePaths(layers: readonly LayerDirectory[]): readonly string[] {
  const last = layers.findIndex(({ hidesBelow }) => hidesBelow);
  const shown = last < 0 ? layers : layers.slice(0, last + 1);
  return [...new Set(shown.map(({ path }) => path))];
}

async function settle(
  tools: SnapshotTools,
  directory: string,
  name: string,
  diffId: DiffId,
): Promise<LayerDirectory> {
  const path = join(tools.options.layersDirectory, name);
  await putInPlace(tools, directory, path);
  return describe(tools, path, diffId);
}

/** Puts a finished directory where others find it. If another build was faster, its directory holds the same. */
export async function putInPlace(
  tools: SnapshotTools,
  directory: string,
  path: string,
): Promise<void> {
  while (!(await renameNew(directory, path))) {
    if ((await use(tools, path)) !== undefined) return discard(tools, directory);
  }
  await use(tools, path);
}

/** False: there already is one of that name, which may be about to be deleted. */
async function renameNew(directory: string, path: string): Promise<boolean> {
  try {
    await rename(directory, path);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOTEMPTY" || errno === "EEXIST") return false;
    const message = `tried to keep a layer as ${path}: ${messageOf(error)}`;
    throw new TsbuildError("STORE_FAILED", message, { cause: error });
  }
}

/** The mark is beside the layer, whose own time is that of the image's root. `undefined` when the layer is not there. */
export function use({ uses }: SnapshotTools, path: string): Promise<Stats | undefined> {
  return uses.use(path, `${path}.used`);
}

/** What a directory that is a layer says of itself. */
export function describe(tools: SnapshotTools, path: string, diffId: DiffId): LayerDirectory {
  return { path, diffId, hidesBelow: hidesLayersBelow(tools.calls, path) };
}

/** What is left behind here goes with the staging directory in the end: failing to delete it now is no failure. */
export async function discard(tools: SnapshotTools, path: string): Promise<void> {
  try {
    await tools.threads.run("remove", { path }, new AbortController().signal);
  } catch {
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}
