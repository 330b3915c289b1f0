import { mkdirSync } from "node:fs";
import { TsbuildError } from "../../errors.js";
import type { StageRoot } from "../layer-host-types.js";
import type { LayerBlob, SealedFiles, SealOptions } from "../types.js";
import {
  discard,
  type LayerDirectories,
  type LayerDirectory,
  visiblePaths,
} from "./layer-directories.js";
import { applyRootState, type RootState, rootStateOf } from "./root-state.js";
import { sealedFiles, sealTarget, type SnapshotTools } from "./tools.js";
import type { RootMount } from "./types.js";

/** What steps since the last seal have written to. */
interface Upper {
  readonly path: string;
  readonly before: RootState;
}

/** A root of unpacked layers below a fresh upper directory: that directory is the change set. */
export async function openOverlayRoot(
  tools: SnapshotTools,
  directories: LayerDirectories,
  layers: readonly LayerBlob[],
  signal: AbortSignal,
): Promise<StageRoot> {
  const root = new OverlayRoot(tools, directories);
  try {
    await root.unpack(layers, signal);
    await tools.threads.warm();
  } catch (error) {
    await root[Symbol.asyncDispose]();
    throw error;
  }
  return root;
}

/**
 * A layer needs those below it only if its tar is incomplete, so they are unpacked side by side.
 * @param layers lowest first
 * @param under what they stand on, topmost first
 * @returns all of them, topmost first
 */
export async function unpackChain(
  directories: LayerDirectories,
  layers: readonly LayerBlob[],
  under: readonly LayerDirectory[],
  signal: AbortSignal,
): Promise<readonly LayerDirectory[]> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const made: Promise<LayerDirectory>[] = [];
  for (const [at, layer] of layers.entries()) {
    const first = made.slice(0, at).reverse();
    const below = {
      diffIds: [...layers.slice(0, at).reverse(), ...under].map(({ diffId }) => diffId),
      directories: async () => [...(await Promise.all(first)), ...under],
    };
    made.push(directories.unpacked(layer, below, either));
  }
  try {
    return [...(await Promise.all(made)).reverse(), ...under];
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(made);
    throw error;
  }
}

class OverlayRoot implements StageRoot {
  readonly #tools: SnapshotTools;
  readonly #directories: LayerDirectories;
  /** Topmost first. */
  #layers: readonly LayerDirectory[] = [];
  #upper: Upper | undefined;
  /** Made for mounts: an overlay may fail on a work directory that another mount has used. */
  readonly #scratch: string[] = [];
  #running = false;

  constructor(tools: SnapshotTools, directories: LayerDirectories) {
    this.#tools = tools;
    this.#directories = directories;
  }

  async unpack(layers: readonly LayerBlob[], signal: AbortSignal): Promise<void> {
    this.#layers = await unpackChain(this.#directories, layers, this.#layers, signal);
  }

  async add(layer: LayerBlob, signal: AbortSignal): Promise<void> {
    this.#mustRest("add a layer");
    if (this.#upper !== undefined) await this.#dropUpper();
    await this.unpack([layer], signal);
  }

  begin(): RootMount {
    this.#mustRest("begin a step");
    const lower = visiblePaths(this.#layers);
    const scratch = this.#tools.upperPath(".mount");
    mkdirSync(scratch);
    this.#scratch.push(scratch);
    const [work, target, none] = [`${scratch}/work`, `${scratch}/root`, `${scratch}/none`];
    for (const path of [work, target, none]) mkdirSync(path);
    const upper = this.#openUpper();
    this.#running = true;
    // An overlay has at least one lower directory.
    return {
      kind: "overlay",
      lower: lower.length === 0 ? [none] : lower,
      upper: upper.path,
      work,
      target,
    };
  }

  end(): void {
    this.#running = false;
  }

  async seal(options: SealOptions, signal: AbortSignal): Promise<SealedFiles> {
    this.#mustRest("seal a layer");
    const target = sealTarget(this.#tools, options);
    const upper = this.#openUpper();
    const lowers = visiblePaths(this.#layers);
    const job = { upper: upper.path, before: upper.before, lowers, target };
    const sealed = await this.#tools.threads.run("seal-upper", job, signal, {
      hashBeside: "when much",
    });
    this.#upper = undefined;
    if (sealed.changes === 0) await discard(this.#tools, upper.path);
    else {
      const { diffId } = sealed.layer;
      const blob = { diffId, path: target.blobFile, compression: options.compression };
      const below = {
        diffIds: this.#layers.map((layer) => layer.diffId),
        directories: () => Promise.resolve(this.#layers),
      };
      const { describesRoot } = sealed;
      const layer = await this.#directories.adopt(
        { path: upper.path, describesRoot, blob, below },
        signal,
      );
      this.#layers = [layer, ...this.#layers];
    }
    await this.#dropScratch();
    return sealedFiles(sealed.layer, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running = false;
    await this.#dropUpper();
    await this.#dropScratch();
  }

  #openUpper(): Upper {
    if (this.#upper !== undefined) return this.#upper;
    const { calls } = this.#tools;
    const before = rootStateOf(calls, visiblePaths(this.#layers));
    const path = this.#tools.upperPath(".upper");
    mkdirSync(path);
    applyRootState(calls, path, before);
    this.#upper = { path, before };
    return this.#upper;
  }

  #mustRest(what: string): void {
    if (this.#running) throw new TsbuildError("INTERNAL", `tried to ${what}: a step is running`);
  }

  async #dropUpper(): Promise<void> {
    const upper = this.#upper;
    this.#upper = undefined;
    if (upper !== undefined) await discard(this.#tools, upper.path);
  }

  async #dropScratch(): Promise<void> {
    for (const path of this.#scratch.splice(0)) await discard(this.#tools, path);
  }
}
