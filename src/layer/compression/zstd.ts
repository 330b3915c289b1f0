import type { Transform } from "node:stream";
import zlib from "node:zlib";
import { TsbuildError } from "../../errors.js";
import { BLOCK_SIZE, type BlockSink, type Output } from "./block-sink.js";

/** The reference's own default. */
export const ZSTD_LEVEL = 3;

/** ZSTD_c_compressionLevel of zstd.h. */
const COMPRESSION_LEVEL = 100;
const CHUNK = 256 * 1024; // bytes

/** Streams of one zstd implementation. */
export interface Zstd {
  readonly compressor: (level: number) => Transform;
  readonly decompressor: () => Transform;
}

/**
 * Node's own zstd (22.15 and later), else the one of @cloudpss/zstd. Loads a module: call it before a thread chroots
 * itself. @throws TsbuildError HOST_UNSUPPORTED
 */
export async function loadZstd(): Promise<Zstd> {
  return nodeZstd() ?? (await packageZstd());
}

/** One frame; Node compresses it on a pool thread, the package on this one. */
export class ZstdSink implements BlockSink {
  readonly #stream: Transform;
  readonly #buffer: Buffer = Buffer.allocUnsafe(BLOCK_SIZE);
  #failure: Error | undefined;

  constructor(zstd: Zstd, output: Output, level: number = ZSTD_LEVEL) {
    this.#stream = zstd.compressor(level);
    this.#stream.on("data", (bytes: Uint8Array) => {
      try {
        output(bytes);
      } catch (error) {
        this.#stream.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    });
    this.#stream.on("error", (error) => {
      this.#failure = error;
    });
  }

  take(): Buffer {
    return this.#buffer;
  }

  push(block: Buffer, length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      // The callback comes when the bytes are compressed: then the buffer is free again.
      this.#stream.write(block.subarray(0, length), (error) => {
        if (error) reject(this.#failure ?? error);
        else setImmediate(resolve);
      });
    });
  }

  finish(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.on("error", reject);
      this.#stream.on("end", resolve);
      this.#stream.end();
    });
  }

  close(): void {
    this.#stream.destroy();
  }
}

type Factory = (options?: object) => Transform;

function isFactory(value: unknown): value is Factory {
  return typeof value === "function";
}

function nodeZstd(): Zstd | undefined {
  const compress = "createZstdCompress" in zlib ? zlib.createZstdCompress : undefined;
  const decompress = "createZstdDecompress" in zlib ? zlib.createZstdDecompress : undefined;
  if (!isFactory(compress) || !isFactory(decompress)) return undefined;
  return {
    compressor: (level) => compress({ params: { [COMPRESSION_LEVEL]: level }, chunkSize: CHUNK }),
    decompressor: () => decompress({ chunkSize: CHUNK }),
  };
}

async function packageZstd(): Promise<Zstd> {
  const hint = "use Node 22.15 or later, or gzip";
  try {
    const { Compressor, Decompressor, TYPE } = await import("@cloudpss/zstd");
    if (TYPE === "napi") {
      return {
        compressor: (level) => new Compressor(level),
        decompressor: () => new Decompressor(),
      };
    }
  } catch (error) {
    throw new TsbuildError("HOST_UNSUPPORTED", "tried to load zstd: it is not installed", {
      hint,
      cause: error,
    });
  }
  throw new TsbuildError("HOST_UNSUPPORTED", "tried to load zstd: not built for this machine", {
    hint,
  });
}
