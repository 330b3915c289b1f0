import type { Descriptor, Platform } from "../oci/types.js";

/** Small bytes that are at hand, and what names them. */
export interface OutputBytes {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** A blob that is somewhere (the store, a registry); `open` starts it from its beginning, on each call. */
export interface OutputBlob {
  readonly descriptor: Descriptor;
  readonly open: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
}

/** A finished image: exactly the bytes that a push of it sends. */
export interface OutputImage {
  readonly manifest: OutputBytes;
  readonly config: OutputBytes;
  /** From the lowest up; a blob may occur more than once. */
  readonly layers: readonly OutputBlob[];
  readonly platform?: Platform;
}

/** Images of several platforms under one index. */
export interface OutputIndex {
  readonly manifest: OutputBytes;
  readonly images: readonly OutputImage[];
}

/** Every blob of an output once: layers, configs, manifests. */
export function blobsOf(output: OutputImage | OutputIndex): readonly OutputBlob[] {
  const images = "images" in output ? output.images : [output];
  const blobs = new Map<string, OutputBlob>();
  for (const image of images) {
    for (const layer of image.layers) blobs.set(layer.descriptor.digest, layer);
    addBytes(blobs, image.config);
    addBytes(blobs, image.manifest);
  }
  addBytes(blobs, output.manifest);
  return [...blobs.values()];
}

function addBytes(blobs: Map<string, OutputBlob>, { descriptor, bytes }: OutputBytes): void {
  blobs.set(descriptor.digest, { descriptor, open: () => once(bytes) });
}

/** Bytes as a stream of one chunk. */
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
