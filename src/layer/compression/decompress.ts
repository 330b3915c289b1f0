import type { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type ErrorCode, TsbuildError, messageOf, unreachable } from "../../errors.js";
import { bunzip2 } from "./bzip2.js";
import type { ArchiveCompression } from "./sniff.js";
import { unxz } from "./xz.js";
import { zstdPieces } from "./zstd-frames.js";
import { loadZstd } from "./zstd.js";

export interface DecompressOptions {
  /** For messages: "the layer sha256:...". */
  readonly what?: string;
  /** Of errors in the compressed bytes; STORE_FAILED when absent. */
  readonly code?: ErrorCode;
}

/** With Node's 16 KiB a gunzip takes half as long again. */
const CHUNK = 256 * 1024; // bytes
/** Inflated bytes that wait while others are consumed: the pool works ahead by this much. */
const AHEAD = 2 * CHUNK;
const GUNZIP = { chunkSize: CHUNK, readableHighWaterMark: AHEAD };

/**
 * The bytes that `chunks` are the compressed form of. Nothing is collected: a bomb costs time, never memory. Several
 * gzip members or zstd frames count as one content.
 * @throws TsbuildError when the bytes are truncated or damaged; errors of `chunks` pass unchanged
 */
export async function* decompress(
  chunks: AsyncIterable<Uint8Array>,
  compression: ArchiveCompression,
  options: DecompressOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  const source = new Source(chunks);
  try {
    yield* decoded(source.read(), compression);
  } catch (error) {
    if (source.failure !== undefined) throw source.failure.error;
    throw failure(error, options);
  }
}

async function* decoded(
  chunks: AsyncIterable<Uint8Array>,
  compression: ArchiveCompression,
): AsyncGenerator<Uint8Array, void, void> {
  switch (compression) {
    case "none":
      return yield* chunks;
    case "gzip":
      return yield* through(chunks, createGunzip(GUNZIP));
    case "zstd":
      return yield* through(zstdPieces(chunks), (await loadZstd()).decompressor());
    case "bzip2":
      return yield* bunzip2(chunks);
    case "xz":
      return yield* unxz(chunks);
    default:
      unreachable(compression);
  }
}

async function* through(
  chunks: AsyncIterable<Uint8Array>,
  transform: Transform,
): AsyncGenerator<Uint8Array, void, void> {
  const done = pipeline(chunks, transform);
  // Awaited below; until then a failure must not count as unhandled.
  done.catch(() => undefined);
  try {
    for await (const chunk of transform) yield chunk;
    await done;
  } finally {
    transform.destroy();
    await done.catch(() => undefined);
  }
}

/** Remembers what its chunks threw, to tell their errors from the decompressor's. */
class Source {
  readonly #chunks: AsyncIterable<Uint8Array>;
  failure: { readonly error: unknown } | undefined;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks;
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for await (const chunk of this.#chunks) yield chunk;
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}

function failure(error: unknown, options: DecompressOptions): TsbuildError {
  if (error instanceof TsbuildError) return error;
  const message = `tried to decompress ${options.what ?? "a layer"}: ${messageOf(error)}`;
  return new TsbuildError(options.code ?? "STORE_FAILED", message, { cause: error });
}
