import { closeSync, openSync } from "node:fs";
import { TsbuildError } from "../errors.js";
import { HASHING_IN_PLACE, type Hashing } from "../internal/hashing.js";
import { diffIdFromHex, digestFromHex, type DiffId } from "../oci/digest.js";
import { layerMediaType } from "../oci/media-types.js";
import type { Compression, Descriptor } from "../oci/types.js";
import { decompress } from "./compression/decompress.js";
import type { BlockSink } from "./compression/block-sink.js";
import { writeAll } from "./fd.js";
import { createSink, prepareCompression } from "./pack-layer.js";
import type { PackOptions } from "./types.js";

export interface RepackOptions extends Omit<PackOptions, "clampMtimeNs" | "indexPath"> {
  /** How the bytes are compressed that are given. */
  readonly from: Compression;
  /** What the layer's bytes have to be once they are plain. */
  readonly diffId: DiffId;
  /** For messages: `layer sha256:…`. */
  readonly what: string;
}

/**
 * Compresses a layer in another way: the same tar, byte for byte. A few blocks are in memory.
 * @throws TsbuildError STORE_FAILED when the bytes are not the layer's or the disk is full
 */
export async function repackLayer(
  bytes: AsyncIterable<Uint8Array>,
  options: RepackOptions,
): Promise<Descriptor> {
  const { compression, what, blobPath, signal, hashing = HASHING_IN_PLACE } = options;
  const zstd = await prepareCompression(compression);
  const plain = decompress(bytes, options.from, { what, code: "STORE_FAILED" });
  const fd = openSync(blobPath, "wx", 0o600);
  try {
    using digest = hashing.sha256();
    let size = 0;
    const sink = createSink(options, zstd, (packed) => {
      digest.update(packed);
      size += packed.length;
      writeAll(fd, packed, `${what} at ${blobPath}`);
    });
    try {
      const found = await fill(sink, plain, { signal, hashing });
      if (found !== options.diffId) {
        throw new TsbuildError("STORE_FAILED", `tried to pack ${what} again: it is damaged`);
      }
    } finally {
      sink.close();
    }
    const mediaType = layerMediaType(options.format, compression);
    return { mediaType, digest: digestFromHex(digest.digest()), size };
  } finally {
    closeSync(fd);
  }
}

async function fill(
  sink: BlockSink,
  plain: AsyncIterable<Uint8Array>,
  { signal, hashing }: { readonly signal: AbortSignal; readonly hashing: Hashing },
): Promise<DiffId> {
  using diffId = hashing.sha256();
  let block = sink.take();
  let filled = 0;
  for await (const chunk of plain) {
    signal.throwIfAborted();
    diffId.update(chunk);
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + block.length - filled);
      block.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < block.length) continue;
      await sink.push(block, filled);
      block = sink.take();
      filled = 0;
    }
  }
  if (filled > 0) await sink.push(block, filled);
  await sink.finish();
  return diffIdFromHex(diffId.digest());
}
