import { openSync, closeSync, readSync } from "node:fs";
import { open } from "node:fs/promises";
import { messageOf, TsbuildError } from "../errors.js";
import { diskFullHint } from "../internal/disk-full.js";
import {
  decompress,
  indexLayer,
  mergedTree,
  openIndexFile,
  openIndexPages,
  type LayerIndex,
} from "../layer/index.js";
import { digestFromHex, hexOf, type DiffId, type Digest } from "../oci/digest.js";
import { layerCompression } from "../oci/media-types.js";
import { formatRepository } from "../oci/reference.js";
import type { Change } from "../layer/types.js";
import type { FileReader, Tree } from "../oci/tree.js";
import type { Image, Layer } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import type { Store } from "../store/types.js";
import type { LayerBlob, Worker } from "../worker/types.js";
import { goneFromStore, type LayerFaults } from "./layer-faults.js";
import type { Emit, ImageContents } from "./types.js";

export interface LayersInput {
  readonly store: Store;
  readonly registry: Registry;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly faults: LayerFaults;
}

/** Bytes of a blob. One of fewer is there before a thread could have begun with it. */
const WORTH_FOLLOWING = 4 * 1024 * 1024;

/** A blob that somebody reads while it comes. */
interface Followed {
  readonly digest: Digest;
  readonly begin: (path: string) => void;
}

/**
 * Layers by what is known of them: the blob in the store, the index, the plain tar. Each is fetched or made once
 * however many steps ask for it at the same time.
 */
export class Layers {
  readonly #input: LayersInput;
  readonly #blobs = new Map<Digest, Promise<void>>();
  readonly #indexes = new Map<DiffId, Promise<LayerIndex>>();
  readonly #pages = openIndexPages();
  readonly #plain = new Map<DiffId, Promise<string>>();
  #followed: Followed | undefined;
  #adopting: Promise<void> = Promise.resolve();

  constructor(input: LayersInput) {
    this.#input = input;
  }

  /** The layer's blob in the store; pulled when it is not there. */
  async blob(layer: Layer): Promise<LayerBlob> {
    await once(this.#blobs, layer.descriptor.digest, () => this.#pull(layer));
    return this.#named(layer);
  }

  #named({ descriptor, diffId }: Layer): LayerBlob {
    return {
      diffId,
      path: this.#input.store.blobPath(descriptor.digest),
      compression: layerCompression(descriptor.mediaType),
    };
  }

  /**
   * The same as soon as its first bytes are there, for who reads it from its beginning. One at a time: whoever follows a
   * blob has a thread of the worker's for as long as that comes, and others want theirs.
   */
  async coming(layer: Layer): Promise<LayerBlob> {
    const { digest, size, mediaType } = layer.descriptor;
    const isWorthwhile = size >= WORTH_FOLLOWING && layerCompression(mediaType) !== "none";
    if (!isWorthwhile || this.#followed !== undefined) return this.blob(layer);
    const begun = new Promise<LayerBlob>((resolve) => {
      const begin = (path: string): void => {
        resolve({ ...this.#named(layer), coming: { path, size } });
      };
      this.#followed = { digest, begin };
    });
    const whole = this.blob(layer);
    const letGo = (): void => {
      this.#followed = undefined;
    };
    whole.then(letGo, letGo);
    return Promise.race([begun, whole]);
  }

  async #pull(layer: Layer): Promise<void> {
    const { store, registry, signal, emit } = this.#input;
    const { descriptor, origin } = layer;
    if ((await store.stat(descriptor.digest)) !== undefined) return;
    if (layer.open !== undefined) return this.#put(layer, layer.open(signal));
    if (origin === undefined) throw this.#gone(descriptor.digest);
    const id = `${formatRepository(origin)}@${descriptor.digest}`;
    let bytes = 0;
    const onBytes = (more: number): void => {
      bytes += more;
      emit({ type: "transfer", id, direction: "pull", bytes, total: descriptor.size });
    };
    const call = { signal, onBytes, hashing: store.hashing };
    return this.#put(layer, registry.blob(origin, descriptor, call), true);
  }

  #gone(digest: Digest): TsbuildError {
    const gone = goneFromStore(digest);
    this.#input.faults.damagedHere(digest, gone);
    return gone;
  }

  async #put(
    { descriptor }: Layer,
    bytes: AsyncIterable<Uint8Array>,
    isVerified = false,
  ): Promise<void> {
    const { store, signal, faults } = this.#input;
    let isFault = false;
    const watched = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* bytes;
      } catch (error) {
        isFault = true;
        throw error;
      }
    };
    try {
      const onFile = (path: string): void => {
        if (this.#followed?.digest === descriptor.digest) this.#followed.begin(path);
      };
      await store.put(watched(), descriptor, signal, { onFile, isVerified });
    } catch (error) {
      if (isFault && !signal.aborted) faults.unreadable(descriptor.digest, error);
      throw error;
    }
  }

  /**
   * Work on blobs that the store has. Where it fails for one that is damaged there, that is noted; the store has removed it.
   */
  async reading<T>(layers: readonly Layer[], work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#examine(layers, error);
      throw error;
    }
  }

  async #examine(layers: readonly Layer[], error: unknown): Promise<void> {
    const { store, signal, faults } = this.#input;
    if (signal.aborted) return;
    if (!(error instanceof TsbuildError) || error.code !== "STORE_FAILED") return;
    for (const { descriptor } of layers) {
      const { digest } = descriptor;
      if (!(await isWhole(store.get(digest, signal)))) faults.damagedHere(digest, error);
    }
  }

  /** Whether the index is known without reading the layer. */
  async hasIndex(layer: Layer): Promise<boolean> {
    if (this.#indexes.has(layer.diffId)) return true;
    const file = await this.#input.store.findIndex(layer.diffId);
    if (file === undefined) return false;
    this.#indexes.set(layer.diffId, Promise.resolve(openIndexFile(file, this.#pages)));
    return true;
  }

  /**
   * Takes over what the worker has indexed while it unpacked. In turns: two stages upon one base are ready at the same time,
   * and the first one takes the indexes of both; the second must not go on before they are in the store.
   */
  adoptIndexes(worker: Pick<Worker, "takeIndexes">): Promise<void> {
    const adopted = this.#adopting.then(async () => {
      for (const { diffId, file } of await worker.takeIndexes()) {
        await this.#input.store.adoptIndex(file, diffId);
      }
    });
    this.#adopting = adopted.catch(() => undefined);
    return adopted;
  }

  #index(layer: Layer): Promise<LayerIndex> {
    return once(this.#indexes, layer.diffId, async () => {
      const { store, signal } = this.#input;
      const known = await store.findIndex(layer.diffId);
      if (known !== undefined) return openIndexFile(known, this.#pages);
      const { compression } = await this.blob(layer);
      const indexPath = store.stagingPath(".index");
      const bytes = store.getFresh(layer.descriptor.digest, signal);
      const { diffId, descriptor } = layer;
      using hash = store.hashing.sha256(descriptor.size); // of a tar at least that
      await this.reading([layer], () =>
        indexLayer(bytes, { compression, diffId, index: indexPath, hash, signal }),
      );
      await store.adoptIndex(indexPath, layer.diffId);
      const made = await store.findIndex(layer.diffId);
      if (made === undefined) {
        throw new TsbuildError("STORE_FAILED", `the index of layer ${layer.diffId} was not kept`);
      }
      return openIndexFile(made, this.#pages);
    });
  }

  /** The image's filesystem. Contents can be read when `read` is given. */
  async tree(
    image: Image,
    read?: (layer: number, offset: number, size: number) => FileReader,
  ): Promise<Tree> {
    const indexes = await Promise.all(image.layers.map((layer) => this.#index(layer)));
    return mergedTree(indexes, read);
  }

  /** The image's filesystem as something to copy from. */
  async contents(image: Image, name: string): Promise<ImageContents> {
    const open = new Map<number, number>();
    const wanted = new Set<number>();
    const tree = await this.tree(image, (layer, offset, size) => {
      const descriptor = open.get(layer);
      if (descriptor === undefined) wanted.add(layer);
      return rangeReader(descriptor, offset, size);
    });
    return {
      name,
      tree,
      prepare: async (changes) => {
        openAll(changes);
        for (const number of wanted) {
          const layer = image.layers[number];
          if (layer === undefined || open.has(number)) continue;
          open.set(number, openSync(await this.plainTar(layer), "r"));
        }
      },
      [Symbol.asyncDispose]: () => {
        for (const descriptor of open.values()) closeSync(descriptor);
        open.clear();
        return Promise.resolve();
      },
    };
  }

  /** The layer's tar, uncompressed, as a file that lasts as long as the build. */
  plainTar(layer: Layer): Promise<string> {
    return once(this.#plain, layer.diffId, async () => {
      const { store, signal } = this.#input;
      const blob = await this.blob(layer);
      if (blob.compression === "none") return blob.path;
      const same = digestFromHex(hexOf(layer.diffId));
      if ((await store.stat(same)) !== undefined) return store.blobPath(same);
      const path = store.stagingPath(".tar");
      const bytes = store.get(layer.descriptor.digest, signal);
      await this.reading([layer], () =>
        writeChunks(path, decompress(bytes, blob.compression), signal),
      );
      return path;
    });
  }
}

async function writeChunks(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  await using file = await open(path, "wx");
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    await file.writeFile(chunk).catch((cause: unknown) => {
      throw unwritten(path, cause);
    });
  }
}

/** Reads a blob of the store to its end, where damage shows. */
async function isWhole(blob: AsyncIterable<Uint8Array>): Promise<boolean> {
  try {
    for await (const _ of blob);
    return true;
  } catch (error) {
    return !(error instanceof TsbuildError && error.code === "STORE_FAILED");
  }
}

function unwritten(path: string, cause: unknown): TsbuildError {
  const message = `tried to write a layer's tar at ${path}: ${messageOf(cause)}`;
  return new TsbuildError("STORE_FAILED", message, { cause, ...diskFullHint(cause) });
}

/** Asks for every file once, without reading. */
function openAll(changes: Iterable<Change>): void {
  for (const change of changes) {
    if (change.kind === "write" && change.entry.open !== undefined) {
      change.entry.open()[Symbol.dispose]();
    }
  }
}

function rangeReader(descriptor: number | undefined, offset: number, size: number): FileReader {
  let position = offset;
  const end = offset + size;
  return {
    read(into) {
      const length = Math.min(into.length, end - position);
      if (descriptor === undefined || length <= 0) return 0;
      const count = readSync(descriptor, into, 0, length, position);
      position += count;
      return count;
    },
    [Symbol.dispose]: () => undefined,
  };
}

/** The promise that is there, or a new one; a failure is not remembered. */
function once<K, V>(map: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  const known = map.get(key);
  if (known !== undefined) return known;
  const promise = make();
  map.set(key, promise);
  promise.catch(() => map.delete(key));
  return promise;
}
