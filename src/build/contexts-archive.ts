import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { looksLikeTar, unpackTar } from "../context/index.js";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { decompress, SNIFF_LENGTH, sniffCompression } from "../layer/index.js";

export interface ArchiveContext {
  /** An empty directory that nobody else writes to. */
  readonly directory: string;
  /** For messages: `the context tar://app.tar`. */
  readonly what: string;
  /** A text that is no archive is the Dockerfile of a context without files, as `docker build -` has it. */
  readonly maybeDockerfile: boolean;
  readonly signal: AbortSignal;
}

const BLOCK = 512; // bytes; a tar's unit

/**
 * Unpacks a tar, plain or compressed with gzip, zstd, bzip2 or xz, by its content.
 * @returns how many entries were passed over: devices and fifos
 * @throws TsbuildError CONTEXT_UNREADABLE, STORE_FAILED
 */
export async function unpackContext(
  bytes: AsyncIterable<Uint8Array>,
  options: ArchiveContext,
): Promise<number> {
  const { what, signal } = options;
  try {
    const packed = await peek(bytes, SNIFF_LENGTH);
    const compression = sniffCompression(packed.first);
    const plain = decompress(packed.all, compression, { what, code: "CONTEXT_UNREADABLE" });
    const { first, all } = await peek(plain, BLOCK);
    if (looksLikeTar(first)) return await unpackTar(all, options);
    if (first.length === 0) throw new Error("there is nothing in it");
    if (!options.maybeDockerfile || compression !== "none" || first.includes(0)) {
      throw new Error("it is not a tar");
    }
    await pipeline(all, createWriteStream(join(options.directory, "Dockerfile")), { signal });
    return 0;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TsbuildError) throw error;
    const full = errnoOf(error) === "ENOSPC";
    throw new TsbuildError(
      full ? "STORE_FAILED" : "CONTEXT_UNREADABLE",
      `tried to read ${what}: ${full ? "the disk is full" : messageOf(error)}`,
      { cause: error },
    );
  }
}

/** The first bytes, `length` of them unless there are less, and all of them with those. */
async function peek(
  bytes: AsyncIterable<Uint8Array>,
  length: number,
): Promise<{ readonly first: Buffer; readonly all: AsyncIterable<Uint8Array> }> {
  const rest = bytes[Symbol.asyncIterator]();
  const chunks: Uint8Array[] = [];
  let size = 0;
  while (size < length) {
    const { value, done } = await rest.next();
    if (done === true) break;
    chunks.push(value);
    size += value.length;
  }
  const first = Buffer.concat(chunks);
  const all = async function* (): AsyncGenerator<Uint8Array> {
    try {
      if (first.length > 0) yield first;
      yield* { [Symbol.asyncIterator]: () => rest };
    } finally {
      await rest.return?.();
    }
  };
  return { first, all: all() };
}
