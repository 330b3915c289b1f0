import { closeSync, openSync } from "node:fs";
import { TsbuildError, messageOf } from "../errors.js";
import { diskFullHint } from "../internal/disk-full.js";
import { type ContentHash, hashInPlace } from "../internal/hashing.js";
import { type DiffId, diffIdFromHex } from "../oci/digest.js";
import type { Compression } from "../oci/types.js";
import { throwIfAborted } from "./abort.js";
import { LayerApplier } from "./apply-layer.js";
import { decompress } from "./compression/decompress.js";
import { readFd } from "./fd.js";
import { IndexBuilder } from "./index-builder.js";
import { openSpill } from "./pack-layer.js";
import { TarReader } from "./tar/reader.js";
import type { RootFs, UnpackResult } from "./types.js";
import type { WhiteoutMode } from "./whiteouts.js";

/** The compressed bytes of a layer: an open descriptor, which stays open, or the bytes themselves. */
export type LayerSource = number | AsyncIterable<Uint8Array>;

export interface IndexOptions {
  readonly compression: Compression;
  /** What the uncompressed bytes must hash to. */
  readonly diffId: DiffId;
  /** Where the index goes: a new file, opened before anything else happens. */
  readonly index: string;
  /** Absent: hashed between reading and writing. */
  readonly hash?: ContentHash;
  /** Hears the tar's bytes as they come, which are only valid during the call: whether they are the layer is known at the end. */
  readonly copy?: (chunk: Uint8Array) => void;
  readonly signal: AbortSignal;
}

export interface UnpackOptions extends IndexOptions {
  /** For messages about the disk: the directory that the root is. */
  readonly place?: string;
  /** Remove what whiteouts name, or leave the marks of an overlay's lower directory. */
  readonly whiteouts: WhiteoutMode;
}

/**
 * Puts a layer into a root and writes its index. Uses descriptors only, besides `into`. On an error, what it has
 * written so far is the caller's to delete: the hash is known at the end.
 * @throws TsbuildError STORE_FAILED when the layer is damaged or is not `diffId`, ABORTED
 */
export async function unpackLayer(
  source: LayerSource,
  into: RootFs,
  options: UnpackOptions,
): Promise<UnpackResult> {
  return readLayer(source, into, options);
}

/** The same without a root: reads the layer and writes its index alone. */
export async function indexLayer(
  source: LayerSource,
  options: IndexOptions,
): Promise<UnpackResult> {
  return readLayer(source, undefined, { ...options, whiteouts: "apply" });
}

async function readLayer(
  source: LayerSource,
  root: RootFs | undefined,
  options: UnpackOptions,
): Promise<UnpackResult> {
  const { compression, diffId, signal, whiteouts } = options;
  throwIfAborted(signal);
  using index = indexFile(options.index);
  using spill = openSpill(options.index);
  const what = `the layer ${diffId}`;
  const hash = options.hash ?? hashInPlace();
  const builder = new IndexBuilder(spill);
  const applier = new LayerApplier(builder, {
    root,
    whiteouts,
    what,
    code: "STORE_FAILED",
    ...(options.place === undefined ? {} : { place: options.place }),
  });
  const reader = new TarReader(applier, { what });
  const chunks = typeof source === "number" ? readFd(source) : source;
  try {
    for await (const chunk of decompress(chunks, compression, { what })) {
      throwIfAborted(signal);
      hash.update(chunk);
      reader.write(chunk);
      options.copy?.(chunk);
    }
    reader.finish();
    root?.finish();
  } finally {
    applier.abandon();
  }
  const found = diffIdFromHex(hash.digest());
  if (found !== diffId) {
    const hint = "the image's config and its layers do not belong together, or the blob is damaged";
    throw new TsbuildError("STORE_FAILED", `tried to unpack ${what}: its content is ${found}`, {
      hint,
    });
  }
  const { impliedDirectories, opaqueRoot } = applier;
  builder.write(index.fd, diffId, reader.offset);
  return {
    diffId,
    uncompressedSize: reader.offset,
    entries: builder.entries,
    impliedDirectories,
    opaqueRoot,
  };
}

function indexFile(index: string): Disposable & { readonly fd: number } {
  try {
    const fd = openSync(index, "wx", 0o600);
    return { fd, [Symbol.dispose]: () => closeSync(fd) };
  } catch (error) {
    throw new TsbuildError("STORE_FAILED", `tried to create "${index}": ${messageOf(error)}`, {
      cause: error,
      ...diskFullHint(error),
    });
  }
}
