import { stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf } from "../../errors.js";
import { parseDiffId } from "../../oci/digest.js";
import { scratchImage, serializeImage } from "../../oci/image.js";
import { parseManifest } from "../../oci/manifest.js";
import { hostPlatform } from "../../oci/platform.js";
import type { Layer } from "../../oci/types.js";
import type { CacheMounts, Emit } from "../../solver/types.js";
import type { Store } from "../../store/types.js";
import type { SealOptions, Worker } from "../../worker/types.js";
import type { CachePlace } from "./place.js";

/** The annotation that has the diff id of each cache's layer by the cache's key, and the layer's digest. */
const MOUNTS = "tsbuild.cache-mounts.v1";
const KEY = /^[0-9a-f]{64}$/;

export interface SharedMountsInput {
  readonly store: Store;
  readonly worker: () => Promise<Worker>;
  /** How the layers are written. */
  readonly seal: SealOptions;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/**
 * What steps keep in cache mounts, as one image under a tag with a layer for each: new caches begin with it, and what the
 * build has used is written back. Nothing of it can fail the build.
 */
export class SharedMounts implements CacheMounts {
  readonly #place: CachePlace;
  readonly #tag: string;
  readonly #input: SharedMountsInput;
  readonly #used = new Set<string>();
  #known: Promise<ReadonlyMap<string, Layer>> | undefined;

  constructor(place: CachePlace, tag: string, input: SharedMountsInput) {
    this.#place = place;
    this.#tag = tag;
    this.#input = input;
  }

  seed: CacheMounts["seed"] = async (key, pull) => {
    this.#used.add(key);
    if (await this.#isHere(key)) return undefined;
    const layer = (await this.#load()).get(key);
    if (layer === undefined) return undefined;
    try {
      return await pull({ ...scratchImage(hostPlatform()), layers: [layer] });
    } catch (error) {
      this.#say("are not used", error);
      return undefined;
    }
  };

  /** Puts what the build has used there. */
  async write(): Promise<void> {
    if (this.#used.size === 0) return;
    try {
      const known = await this.#load();
      const made = new Map<string, Layer>();
      for (const key of [...this.#used].toSorted()) {
        const layer = await this.#pack(key);
        if (layer !== undefined) made.set(key, layer);
      }
      const isNew = [...made].some(([key, layer]) => known.get(key)?.diffId !== layer.diffId);
      if (isNew) await this.#put(new Map([...known, ...made]));
    } catch (error) {
      this.#say("are not written", error);
    }
  }

  async #put(all: ReadonlyMap<string, Layer>): Promise<void> {
    const layers = [...new Map([...all.values()].map((one) => [one.diffId, one])).values()];
    const entries = [...all].map(([key, { diffId, descriptor }]) => [
      key,
      [diffId, descriptor.digest],
    ]);
    const image = {
      ...scratchImage(hostPlatform()),
      layers,
      history: layers.map(() => ({ emptyLayer: false })),
    };
    const annotations = { [MOUNTS]: JSON.stringify(Object.fromEntries(entries)) };
    const page = { ...serializeImage(image, annotations), layers };
    await this.#place.put(this.#tag, page, this.#input.signal);
  }

  async #pack(key: string): Promise<Layer | undefined> {
    const { worker, store, seal, signal, emit } = this.#input;
    const files = await (await worker()).packCache?.(key, seal, signal);
    if (files === undefined) {
      const message = `a cache mount is not written to ${this.#place.name}: it is in use, or its driver cannot read it`;
      emit({ type: "notice", message });
      return undefined;
    }
    const { descriptor, diffId } = files.layer;
    await store.adoptBlob(files.blobFile, descriptor.digest);
    return { descriptor, diffId, isMade: true };
  }

  /** Whether this machine has the cache already; one that cannot be looked at is there. */
  async #isHere(key: string): Promise<boolean> {
    const { worker, store } = this.#input;
    const directory = await store.cachesDirectory((await worker()).host.idMap);
    try {
      await stat(join(directory, key, "0"));
      return true;
    } catch (error) {
      return errnoOf(error) !== "ENOENT";
    }
  }

  #load(): Promise<ReadonlyMap<string, Layer>> {
    this.#known ??= this.#read().catch((error: unknown) => {
      this.#say("are not used", error);
      return new Map<string, Layer>();
    });
    return this.#known;
  }

  async #read(): Promise<ReadonlyMap<string, Layer>> {
    const bytes = await this.#place.manifest({ tag: this.#tag }, this.#input.signal);
    const layers = new Map<string, Layer>();
    if (bytes === undefined) return layers;
    const { annotations, layers: descriptors } = parseManifest(bytes);
    const written: unknown = JSON.parse(annotations[MOUNTS] ?? "{}");
    for (const [key, value] of Object.entries(written ?? {})) {
      const [diffId, digest]: readonly unknown[] = Array.isArray(value) ? value : [];
      const descriptor = descriptors.find((one) => one.digest === digest);
      if (!KEY.test(key) || descriptor === undefined) continue;
      const place = this.#place.locate(descriptor);
      layers.set(key, { descriptor, diffId: parseDiffId(String(diffId)), ...place });
    }
    return layers;
  }

  #say(what: string, error: unknown): void {
    const { signal, emit } = this.#input;
    signal.throwIfAborted();
    const { name } = this.#place;
    emit({ type: "notice", message: `cache mounts of ${name} ${what}: ${messageOf(error)}` });
  }
}
