import { TsbuildError } from "../errors.js";
import { createSemaphore, type Semaphore } from "../internal/semaphore.js";
import type { SerializedBlob } from "../oci/manifest.js";
import { formatRepository, type Reference } from "../oci/reference.js";
import type { Descriptor, Layer } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import type { Emit } from "../solver/types.js";
import type { Store } from "../store/types.js";
import { topOf, type Exported, type SerializedImage } from "./export-image.js";

/** Uploads at once to one registry: enough to fill a line, few enough not to be throttled. */
const UPLOADS = 4;

export interface PushInput {
  readonly registry: Registry;
  readonly store: Store;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

type PushSource = Parameters<Registry["pushBlob"]>[2];

/** Blobs first, then the manifests of an index, then what the destination names. */
export async function pushImages(
  exported: Exported,
  destination: Reference,
  input: PushInput,
): Promise<void> {
  const { registry, signal } = input;
  const { index, images } = exported;
  for (const image of images) {
    await pushBlobs(image, destination, input);
    if (index === undefined) continue;
    const { registry: host, repository } = destination;
    const { bytes, descriptor } = image.manifest;
    const byDigest = { registry: host, repository, digest: descriptor.digest };
    await registry.pushManifest(byDigest, bytes, descriptor.mediaType, { signal });
  }
  const { bytes, descriptor }: SerializedBlob = topOf(exported);
  await registry.pushManifest(destination, bytes, descriptor.mediaType, { signal });
}

/** A layer's bytes: from the store, or from where the base came. */
export function layerOpener(
  layer: Layer,
  { store, registry, signal: whole }: Omit<PushInput, "emit">,
): (signal?: AbortSignal) => AsyncIterable<Uint8Array> {
  return async function* (signal = whole) {
    const { descriptor, origin } = layer;
    if ((await store.stat(descriptor.digest)) !== undefined) {
      yield* store.get(descriptor.digest, signal);
    } else if (layer.open !== undefined) {
      yield* layer.open(signal);
    } else if (origin !== undefined) {
      yield* registry.blob(origin, descriptor, { signal });
    } else {
      throw new TsbuildError("STORE_FAILED", `layer ${descriptor.digest} is gone from the store`);
    }
  };
}

async function pushBlobs(
  { image, config }: SerializedImage,
  destination: Reference,
  input: PushInput,
): Promise<void> {
  const { registry, signal, emit } = input;
  const turns = createSemaphore(UPLOADS);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const unique = new Map(image.layers.map((layer) => [layer.descriptor.digest, layer]));
  const push = async (blob: Descriptor, source: PushSource, turn: Semaphore): Promise<void> => {
    using _turn = await turn.acquire(both);
    let bytes = 0;
    const onBytes = (more: number): void => {
      bytes += more;
      const id = `${formatRepository(destination)}@${blob.digest}`;
      emit({ type: "transfer", id, direction: "push", bytes, total: blob.size });
    };
    await registry.pushBlob(destination, blob, source, { signal: both, onBytes });
  };
  const uploads = [...unique.values()].map((layer) =>
    push(layer.descriptor, pushSource(layer, input), turns),
  );
  uploads.push(push(config.descriptor, { open: () => once(config.bytes) }, turns));
  try {
    await Promise.all(uploads);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(uploads);
    throw error;
  }
}

function pushSource(layer: Layer, input: PushInput): PushSource {
  const open = layerOpener(layer, input);
  return layer.origin === undefined ? { open } : { open, from: layer.origin };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
