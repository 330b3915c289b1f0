import { closeSync, openSync } from "node:fs";
import { TsbuildError, messageOf } from "../errors.js";
import { diskFullHint } from "../internal/disk-full.js";
import { HASHING_IN_PLACE } from "../internal/hashing.js";
import { SpillFile } from "../internal/spill-file.js";
import { diffIdFromHex, digestFromHex, hexOf } from "../oci/digest.js";
import { layerMediaType } from "../oci/media-types.js";
import type { Compression } from "../oci/types.js";
import { throwIfAborted } from "./abort.js";
import type { BlockSink, Output } from "./compression/block-sink.js";
import { GzipSink } from "./compression/gzip.js";
import { PlainSink } from "./compression/plain.js";
import { type Zstd, ZstdSink, loadZstd } from "./compression/zstd.js";
import { writeAll } from "./fd.js";
import { IndexBuilder } from "./index-builder.js";
import { TarStream } from "./tar-stream.js";
import type { Change, PackOptions, SealedLayer } from "./types.js";

/**
 * Writes changes, in their order, as a layer and its index, in one pass. Opens its two files before it asks for the
 * first change and uses only their descriptors from then on; so `changes` may chroot the thread. Memory does not grow
 * with the layer's size, and with its entries by 20 bytes each.
 * @throws TsbuildError STORE_FAILED when a file changes while it is read or the disk is full, ABORTED
 */
export async function packLayer(
  changes: Iterable<Change>,
  options: PackOptions,
): Promise<SealedLayer> {
  const { signal, hashing = HASHING_IN_PLACE } = options;
  throwIfAborted(signal);
  const zstd = await prepareCompression(options.compression);
  using blob = createFile(options.blobPath);
  using index = createFile(options.indexPath);
  using spill = openSpill(options.indexPath);
  const plain = options.compression === "none";
  using digest = hashing.sha256();
  let size = 0;
  const sink = createSink(options, zstd, (bytes) => {
    // A plain layer's digest is its diffId: hashing is what it costs most.
    if (!plain) digest.update(bytes);
    size += bytes.length;
    writeAll(blob.fd, bytes, `a layer's blob at ${options.blobPath}`);
  });
  using diffId = hashing.sha256();
  const builder = new IndexBuilder(spill);
  let uncompressedSize = 0;
  try {
    const tar = new TarStream(changes, builder, options);
    for (const { block, length } of tar.blocks(() => sink.take())) {
      diffId.update(block.subarray(0, length));
      uncompressedSize += length;
      await sink.push(block, length);
      throwIfAborted(signal);
    }
    await sink.finish();
  } finally {
    sink.close();
  }
  const sealed = diffIdFromHex(diffId.digest());
  builder.write(index.fd, sealed, uncompressedSize);
  return {
    descriptor: {
      mediaType: layerMediaType(options.format, options.compression),
      digest: digestFromHex(plain ? hexOf(sealed) : digest.digest()),
      size,
    },
    diffId: sealed,
    uncompressedSize,
  };
}

/** For what is too large an index in memory. In place before the thread is perhaps chrooted. */
export function openSpill(indexPath: string): SpillFile {
  const spill = new SpillFile(`${indexPath}.spill`, "a layer's index");
  spill.open();
  return spill;
}

/**
 * Loads what a compression needs. A thread that chroots itself calls it before, since modules cannot be found
 * afterwards. @throws TsbuildError HOST_UNSUPPORTED
 */
export function prepareCompression(compression: Compression): Promise<Zstd | undefined> {
  return compression === "zstd" ? loadZstd() : Promise.resolve(undefined);
}

/** @param zstd what `prepareCompression` gave */
export function createSink(
  options: Pick<PackOptions, "compression" | "level">,
  zstd: Zstd | undefined,
  output: Output,
): BlockSink {
  if (options.compression === "none") return new PlainSink(output);
  return zstd === undefined
    ? new GzipSink(output, options.level)
    : new ZstdSink(zstd, output, options.level);
}

function createFile(path: string): Disposable & { readonly fd: number } {
  try {
    const fd = openSync(path, "wx", 0o600);
    return { fd, [Symbol.dispose]: () => closeSync(fd) };
  } catch (error) {
    throw new TsbuildError("STORE_FAILED", `tried to create "${path}": ${messageOf(error)}`, {
      cause: error,
      ...diskFullHint(error),
    });
  }
}
