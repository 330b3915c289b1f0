import type { Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import { type ErrorCode, TsbuildError, messageOf, unreachable } from "../../errors.js";
import { type YoungGarbage, watchGarbage } from "../../internal/young-garbage.js";
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
  const garbage = watchGarbage();
  const source = new Source(chunks, garbage);
  try {
    for await (const chunk of decoded(source.read(), compression)) {
      yield chunk;
      if (compression !== "none") garbage.count(chunk.length);
    }
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
  const done = feed(chunks, transform);
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

/**
 * Gives a stream one chunk after the other, the next when the last one has been read out again. Streams that know all
 * of their input, as those of `pipeline` soon do, no longer wait for their reader: a bomb's content would lie in memory.
 */
async function feed(chunks: AsyncIterable<Uint8Array>, transform: Transform): Promise<void> {
  try {
    for await (const chunk of chunks) {
      await written(transform, chunk);
    }
    transform.end();
  } catch (error) {
    transform.destroy(error instanceof Error ? error : new Error(messageOf(error)));
    throw error;
  }
}

/** A stream that is destroyed forgets the callbacks of its writes: its close has to do. */
function written(transform: Transform, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new Error("the stream was closed"));
    transform.once("close", closed);
    transform.write(chunk, (error) => {
      transform.off("close", closed);
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Remembers what its chunks threw, to tell their errors from the decompressor's. */
class Source {
  readonly #chunks: AsyncIterable<Uint8Array>;
  readonly #garbage: YoungGarbage;
  failure: { readonly error: unknown } | undefined;

  constructor(chunks: AsyncIterable<Uint8Array>, garbage: YoungGarbage) {
    this.#chunks = chunks;
    this.#garbage = garbage;
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for await (const chunk of this.#chunks) {
        yield chunk;
        this.#garbage.count(chunk.length);
      }
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
