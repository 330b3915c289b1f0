import { repackLayer } from "../layer/index.js";
import { layerCompression, layerMediaType } from "../oci/media-types.js";
import type { Image, Layer } from "../oci/types.js";
import { layerOpener, type PushInput } from "./export-input.js";
import type { BuildOptions } from "./options.js";

/** `forceCompression`: layers that are compressed in another way, which are the base's, are compressed again. */
export async function withCompression(
  images: readonly Image[],
  options: BuildOptions,
  input: PushInput,
): Promise<readonly Image[]> {
  if (options.forceCompression !== true) return images;
  // Images of several platforms may share layers.
  const done = new Map<string, Layer>();
  const repacked: Image[] = [];
  for (const image of images) {
    const layers: Layer[] = [];
    for (const layer of image.layers) {
      const key = `${image.format} ${layer.descriptor.digest}`;
      const made = done.get(key) ?? (await repack(layer, image, options, input));
      done.set(key, made);
      layers.push(made);
    }
    repacked.push({ ...image, layers });
  }
  return repacked;
}

async function repack(
  layer: Layer,
  { format }: Image,
  { compression = "gzip", compressionLevel: level }: BuildOptions,
  input: PushInput,
): Promise<Layer> {
  const { descriptor, diffId } = layer;
  const from = layerCompression(descriptor.mediaType);
  // One that may not be distributed keeps its place, and so its bytes.
  const isRegular = ["oci", "docker"].some(
    (one) => layerMediaType(one === "oci" ? one : "docker", from) === descriptor.mediaType,
  );
  if (from === compression || !isRegular) return layer;
  const { store, signal } = input;
  const blobPath = store.stagingPath(".blob");
  const made = await repackLayer(layerOpener(layer, input)(signal), {
    from,
    compression,
    format,
    diffId,
    blobPath,
    hashing: store.hashing,
    signal,
    ...(level === undefined ? {} : { level }),
    what: `layer ${descriptor.digest}`,
  });
  await store.adoptBlob(blobPath, made.digest);
  return { descriptor: made, diffId };
}
