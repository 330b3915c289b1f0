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

/** Bytes as a stream of one chunk. */
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
