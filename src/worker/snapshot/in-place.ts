import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { TsbuildError } from "../../errors.js";
import type { DiffId } from "../../oci/digest.js";
import type { SourceRoot, StageRoot } from "../layer-host-types.js";
import type { RootPlace } from "../root-jobs.js";
import type { InPlaceOptions, LayerBlob, SealedFiles, SealOptions } from "../types.js";
import { keepRules } from "./in-place-keep.js";
import { lockRoot, markerOf, markTaken } from "./in-place-marker.js";
import { discard, unpack } from "./layer-directories.js";
import { applyRootState, DEFAULT_ROOT } from "./root-state.js";
import { livePlace, ScannedRoot } from "./scanned-root.js";
import { sealTarget, type SnapshotTools } from "./tools.js";

/** Roots where "/" is the only one there can be. */
export interface InPlaceRoots extends AsyncDisposable {
  /** Makes "/" what these layers say; it is the root's until that is disposed. @throws TsbuildError INTERNAL while there is one */
  prepare(layers: readonly LayerBlob[], signal: AbortSignal): Promise<StageRoot>;
  /** Unpacks them into a directory, to be read from. */
  prepareSource(layers: readonly LayerBlob[], signal: AbortSignal): Promise<SourceRoot>;
}

/**
 * The driver that rewrites "/". From one root to the next it unpacks only what differs when the one's layers begin the
 * other's; else it deletes everything but what is kept and begins anew.
 */
export function openInPlaceRoots(tools: SnapshotTools, inPlace: InPlaceOptions): InPlaceRoots {
  return new Roots(tools, inPlace);
}

class Roots implements InPlaceRoots {
  readonly #tools: SnapshotTools;
  readonly #inPlace: InPlaceOptions;
  readonly #at: RootPlace & { readonly keep: NonNullable<RootPlace["keep"]> };
  /** The layers that "/" is; absent when it is something else. */
  #held: readonly DiffId[] | undefined;
  #isTaken = false;
  #isOurs = false;
  #original: LayerBlob | undefined;
  /** While it is held no other build in this container takes "/". */
  #lock: Disposable | undefined;

  constructor(tools: SnapshotTools, inPlace: InPlaceOptions) {
    this.#tools = tools;
    this.#inPlace = inPlace;
    this.#at = { directory: "/", keep: keepRules(inPlace) };
    // Of the whole process, for its threads cannot have their own: what layers say of modes is all there is to say.
    process.umask(0);
    // So nobody else may look into what it makes for itself.
    chmodSync(tools.options.staging, 0o700);
  }

  async prepare(layers: readonly LayerBlob[], signal: AbortSignal): Promise<StageRoot> {
    if (this.#isTaken) throw new TsbuildError("INTERNAL", "tried to prepare a root: / is taken");
    this.#isTaken = true;
    try {
      await this.#takeOver(signal);
      await this.#become(layers, signal);
      const place = livePlace(this.#tools, this.#at, {
        apply: (layer, abort) => this.#apply(layer, abort),
        dispose: () => Promise.resolve(),
      });
      const root = new ScannedRoot(this.#tools, place);
      await root.mark(signal);
      return this.#watched(root);
    } catch (error) {
      this.#isTaken = false;
      throw error;
    }
  }

  async prepareSource(layers: readonly LayerBlob[], signal: AbortSignal): Promise<SourceRoot> {
    const directory = this.#tools.stagingPath(".source");
    const dispose = (): Promise<void> => discard(this.#tools, directory);
    mkdirSync(directory);
    try {
      applyRootState(this.#tools.calls, directory, DEFAULT_ROOT);
      const where = { directory, direct: true, form: "plain" } as const;
      for (const layer of layers) await unpack(this.#tools, layer, where, signal);
    } catch (error) {
      await dispose();
      throw error;
    }
    return {
      begin: () => ({ kind: "directory", path: directory }),
      [Symbol.asyncDispose]: dispose,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#isOurs && this.#inPlace.wipeLast) await this.#cleanUp();
    } finally {
      this.#lock?.[Symbol.dispose]();
    }
  }

  async #cleanUp(): Promise<void> {
    const never = new AbortController().signal;
    await this.#wipe(never);
    if (this.#original !== undefined) await this.#apply(this.#original, never);
    rmSync(markerOf(this.#inPlace.home), { force: true });
  }

  /** From here on what is in "/" is of builds alone: the next one need not ask. */
  async #takeOver(signal: AbortSignal): Promise<void> {
    if (this.#isOurs) return;
    this.#lock = lockRoot(this.#inPlace.home);
    const { preserve, wipeLast } = this.#inPlace;
    if (preserve && wipeLast) this.#original = await this.#remember(signal);
    markTaken(this.#inPlace.home);
    this.#isOurs = true;
  }

  async #remember(signal: AbortSignal): Promise<LayerBlob> {
    const target = sealTarget(this.#tools, { compression: "none", format: "oci" });
    const job = { ...this.#at, probe: this.#tools.stagingPath(".clock"), restored: [], target };
    const { layer } = await this.#tools.threads.run("seal-scan", job, signal, {
      hashBeside: "when much",
    });
    rmSync(job.probe, { force: true });
    rmSync(target.indexFile, { force: true });
    return { diffId: layer.diffId, path: target.blobFile, compression: "none" };
  }

  async #become(layers: readonly LayerBlob[], signal: AbortSignal): Promise<void> {
    const held = this.#held;
    const isBegun = held !== undefined && held.every((id, at) => layers[at]?.diffId === id);
    if (!isBegun) {
      await this.#wipe(signal);
      applyRootState(this.#tools.calls, "/", DEFAULT_ROOT);
      this.#held = [];
    }
    for (const layer of layers.slice(this.#held?.length ?? 0)) await this.#apply(layer, signal);
  }

  async #wipe(signal: AbortSignal): Promise<void> {
    this.#held = undefined;
    await this.#tools.threads.run("wipe", { keep: this.#at.keep }, signal);
  }

  async #apply(layer: LayerBlob, signal: AbortSignal): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    await unpack(this.#tools, layer, { ...this.#at, form: "plain" }, signal);
    if (held !== undefined) this.#held = [...held, layer.diffId];
  }

  /** A root that tells what "/" is, at each moment. */
  #watched(root: ScannedRoot): StageRoot {
    let sealed: readonly DiffId[] | undefined;
    return {
      add: (layer, signal) => root.add(layer, signal),
      begin: () => {
        sealed ??= this.#held;
        this.#held = undefined;
        return root.begin();
      },
      end: (restored) => root.end(restored),
      seal: async (options: SealOptions, signal: AbortSignal): Promise<SealedFiles> => {
        const files = await root.seal(options, signal);
        const before = sealed ?? this.#held;
        sealed = undefined;
        this.#held = before === undefined ? undefined : [...before, files.layer.diffId];
        return files;
      },
      [Symbol.asyncDispose]: async () => {
        this.#isTaken = false;
        await root[Symbol.asyncDispose]();
      },
    };
  }
}
