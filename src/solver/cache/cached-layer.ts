import type { SealedLayer } from "../../layer/types.js";
import { repackLayer } from "../../layer/index.js";
import { layerCompression, layerMediaType } from "../../oci/media-types.js";
import type { Layer } from "../../oci/types.js";
import type { Store } from "../../store/types.js";
import type { SealOptions } from "../../worker/types.js";
import type { Layers } from "../layers.js";
import type { LayerRecord } from "./types.js";

export interface CachedLayerInput {
  readonly layers: Layers;
  readonly store: Store;
  /** How this build writes the step's layer. */
  readonly seal: SealOptions;
  /** Whether it leaves this machine: otherwise it is good as it is. */
  readonly leaves: boolean;
  readonly signal: AbortSignal;
}

/**
 * The layer as this build would have written it: one that is compressed in another way is compressed again, where it leaves
 * this machine. `undefined` when its bytes are nowhere any more.
 */
export async function cachedLayer(
  record: LayerRecord,
  input: CachedLayerInput,
): Promise<
  { readonly layer: Layer; readonly sealed: SealedLayer; readonly isNew: boolean } | undefined
> {
  const { store, seal } = input;
  const { descriptor, diffId } = record.layer;
  const isHere = (await store.stat(descriptor.digest))?.size === descriptor.size;
  if (!isHere && record.origin === undefined && record.open === undefined) return undefined;
  const has = layerCompression(descriptor.mediaType);
  const where = {
    ...(record.origin === undefined ? {} : { origin: record.origin }),
    ...(record.open === undefined ? {} : { open: record.open }),
  };
  const layer: Layer = { descriptor, diffId, isMade: true, ...where };
  const fits = has === seal.compression && record.level === seal.level;
  if (!input.leaves) return { layer, sealed: record.layer, isNew: false };
  if (fits) {
    const mediaType = layerMediaType(seal.format, has);
    const named = { ...layer, descriptor: { ...descriptor, mediaType } };
    return { layer: named, sealed: record.layer, isNew: false };
  }
  const made = await repack(layer, input);
  const sealed = { ...record.layer, descriptor: made };
  return { layer: { descriptor: made, diffId, isMade: true }, sealed, isNew: true };
}

async function repack(
  layer: Layer,
  { layers, store, seal, signal }: CachedLayerInput,
): Promise<Layer["descriptor"]> {
  const { compression: from } = await layers.blob(layer);
  const { digest } = layer.descriptor;
  const blobPath = store.stagingPath(".blob");
  const { compression, format, level } = seal;
  const made = await layers.reading([layer], () =>
    repackLayer(store.get(digest, signal), {
      from,
      compression,
      format,
      diffId: layer.diffId,
      blobPath,
      hashing: store.hashing,
      signal,
      ...(level === undefined ? {} : { level }),
      what: `layer ${digest}`,
    }),
  );
  await store.adoptBlob(blobPath, made.digest);
  return made;
}
