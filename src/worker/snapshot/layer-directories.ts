import { createHash } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, TsbuildError } from "../../errors.js";
import { type DiffId, hexOf } from "../../oci/digest.js";
import type { Unpacked, UnpackJob } from "../root-jobs.js";
import { OPAQUE, OPAQUE_VALUE } from "../root-xattrs.js";
import type { LayerBlob } from "../types.js";
import { hidesLayersBelow, markRootImplied } from "./root-state.js";
import type { SnapshotTools } from "./tools.js";

/** Bytes of a blob. Unpacking this much takes some 50 ms, starting a thread that hashes beside it some 20 ms. */
const WORTH_A_THREAD = 4 * 1024 * 1024;

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
  adopt(upper: string, diffId: DiffId, describesRoot: boolean): Promise<LayerDirectory>;
}

export function openLayerDirectories(tools: SnapshotTools): LayerDirectories {
  const last = new Map<DiffId, Promise<unknown>>();
  return {
    async unpacked(layer, below, signal) {
      // Who comes second waits and then finds it, or unpacks by itself if the first was cancelled.
      const before = last.get(layer.diffId) ?? Promise.resolve();
      const made = before
        .catch(() => undefined)
        .then(() => findOrUnpack(tools, layer, below, signal));
      last.set(layer.diffId, made);
      try {
        return await made;
      } finally {
        if (last.get(layer.diffId) === made) last.delete(layer.diffId);
      }
    },
    async adopt(upper, diffId, describesRoot) {
      if (!describesRoot) markRootImplied(tools.calls, upper);
      return settle(tools, upper, hexOf(diffId), diffId);
    },
  };
}

/**
 * A layer whose tar lacks directories that its entries stand in cannot be shared by its own name alone: these
 * directories have to look like those of the layers below, here, or they would mask them.
 */
function chainName(layer: LayerBlob, below: Below): string {
  const chain = [layer.diffId, ...below.diffIds].join("\n");
  return `chain-${createHash("sha256").update(chain).digest("hex")}`;
}

async function findOrUnpack(
  tools: SnapshotTools,
  layer: LayerBlob,
  below: Below,
  signal: AbortSignal,
): Promise<LayerDirectory> {
  const { layersDirectory } = tools.options;
  const chain = chainName(layer, below);
  for (const name of [hexOf(layer.diffId), chain]) {
    const path = join(layersDirectory, name);
    if (await exists(path)) return describe(tools, path, layer.diffId);
  }
  const directory = tools.stagingPath(".layer");
  await mkdir(directory);
  try {
    const unpacked = await unpack(tools, layer, { directory, form: "lower" }, signal);
    const implied = unpacked.impliedDirectories.filter((path) => path !== "");
    if (unpacked.impliedDirectories.includes("")) markRootImplied(tools.calls, directory);
    if (unpacked.opaqueRoot) tools.calls.setXattr(directory, OPAQUE, OPAQUE_VALUE);
    // Nothing below to look like, and nothing to be masked; but under another base there may be.
    if (implied.length === 0)
      return await settle(tools, directory, hexOf(layer.diffId), layer.diffId);
    const lowers = visiblePaths(await below.directories());
    const { singleId, idMap } = tools.options;
    const job = { directory, paths: implied, lowers, singleId, idMap };
    await tools.threads.run("imply", job, signal);
    return await settle(tools, directory, chain, layer.diffId);
  } catch (error) {
    await discard(tools, directory);
    throw error;
  }
}

/** Shared by everything that unpacks: the index goes to whoever takes it, refusals become warnings. */
export async function unpack(
  tools: SnapshotTools,
  layer: LayerBlob,
  { directory, form }: Pick<UnpackJob, "directory" | "form">,
  signal: AbortSignal,
): Promise<Unpacked> {
  const { singleId, idMap } = tools.options;
  const indexFile = tools.stagingPath(".index");
  const job = { directory, form, layer, indexFile, singleId, idMap };
  let taken = false;
  try {
    const unpacked = await tools.threads.run("unpack", job, signal, {
      hashBeside: (await sizeOf(layer.path)) >= WORTH_A_THREAD,
    });
    taken = tools.indexes.add(layer.diffId, indexFile);
    tools.warnings.add(unpacked.skipped);
    return unpacked;
  } finally {
    // Of an unpacking that failed, too. What cannot be deleted goes with the staging directory in the end.
    if (!taken) await rm(indexFile, { force: true }).catch(() => undefined);
  }
}

/** Whoever opens the file says what is wrong with it. */
async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
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

/** Puts a finished directory where others find it. If another build was faster, its directory holds the same. */
async function settle(
  tools: SnapshotTools,
  directory: string,
  name: string,
  diffId: DiffId,
): Promise<LayerDirectory> {
  const path = join(tools.options.layersDirectory, name);
  try {
    await rename(directory, path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "ENOTEMPTY" && errno !== "EEXIST") {
      throw new TsbuildError(
        "STORE_FAILED",
        `tried to keep a layer as ${path}: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
    await discard(tools, directory);
  }
  return describe(tools, path, diffId);
}

function describe(tools: SnapshotTools, path: string, diffId: DiffId): LayerDirectory {
  return { path, diffId, hidesBelow: hidesLayersBelow(tools.calls, path) };
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** What is left behind here goes with the staging directory in the end: failing to delete it now is no failure. */
export async function discard(tools: SnapshotTools, path: string): Promise<void> {
  try {
    await tools.threads.run("remove", { path }, new AbortController().signal);
  } catch {
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}
