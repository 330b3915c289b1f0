import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { messageOf, TsbuildError } from "../errors.js";
import { type FillPage, type IndexPages, openIndexPages } from "./index-pages.js";

/** Where an index's bytes are read from. */
export interface IndexBytes {
  readonly length: number;
  /** Where `locate` has found what it was last asked for. */
  readonly buffer: Buffer;
  /** Brings `length` bytes at `start` into `buffer`, where they stay until something else is located. @returns where in it they begin */
  locate(start: number, length: number): number;
  /** All of them from `start` on, in pieces that are good until the next one. What is in memory stays as it is. */
  pieces(start: number): Generator<Buffer, void, void>;
}

const PIECE = 64 * 1024; // bytes

/** The bytes of an index in memory. */
export function bytesInMemory(bytes: Buffer): IndexBytes {
  return {
    length: bytes.length,
    buffer: bytes,
    locate: (start) => start,
    *pieces(start) {
      yield bytes.subarray(start);
    },
  };
}

/**
 * The bytes of an index file: in memory while `pages` has room for all of them, else on the disk, but for the parts that
 * were used last. No descriptor is held in between, so that nobody has to close anything.
 * @param pages Shared by the indexes that are used together, so that all of them take no more than one.
 * @throws TsbuildError STORE_FAILED, then and later
 */
export function bytesOfFile(path: string, pages: IndexPages = openIndexPages()): IndexBytes {
  const fd = openToRead(path);
  try {
    const { size } = fstatSync(fd);
    if (!pages.takeRoom(size)) return new PagedFile(path, size, pages);
    const bytes = Buffer.allocUnsafe(size);
    fill(fd, bytes, 0, path);
    return bytesInMemory(bytes);
  } finally {
    closeSync(fd);
  }
}

class PagedFile implements IndexBytes {
  readonly length: number;
  buffer: Buffer = Buffer.alloc(0);
  readonly #path: string;
  readonly #pages: IndexPages;
  readonly #fill: FillPage;

  constructor(path: string, length: number, pages: IndexPages) {
    this.#path = path;
    this.length = length;
    this.#pages = pages;
    this.#fill = (into, number) => void this.#read(into, number * pages.pageSize);
  }

  locate(start: number, length: number): number {
    const { pageSize, overlap } = this.#pages;
    const number = Math.floor(start / pageSize);
    const within = start - number * pageSize;
    if (within + length > pageSize + overlap) {
      this.buffer = this.#read(Buffer.allocUnsafeSlow(length), start);
      return 0;
    }
    this.buffer = this.#pages.page(this, number, this.#fill);
    return within;
  }

  *pieces(start: number): Generator<Buffer, void, void> {
    const buffer = Buffer.allocUnsafe(PIECE);
    const fd = openToRead(this.#path);
    try {
      for (let at = start; at < this.length; at += PIECE) {
        const piece = buffer.subarray(0, this.length - at);
        fill(fd, piece, at, this.#path);
        yield piece;
      }
    } finally {
      closeSync(fd);
    }
  }

  #read(into: Buffer, start: number): Buffer {
    const fd = openToRead(this.#path);
    try {
      fill(fd, into.subarray(0, Math.max(0, this.length - start)), start, this.#path);
    } finally {
      closeSync(fd);
    }
    return into;
  }
}

function openToRead(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw failure(path, messageOf(error), error);
  }
}

function fill(fd: number, into: Buffer, start: number, path: string): void {
  for (let at = 0; at < into.length;) {
    const got = readSync(fd, into, at, into.length - at, start + at);
    if (got === 0) throw failure(path, "it is shorter than it was");
    at += got;
  }
}

function failure(path: string, because: string, cause?: unknown): TsbuildError {
  return new TsbuildError("STORE_FAILED", `tried to read the index ${path}: ${because}`, {
    cause,
    hint: "if something deleted it during the build, build again: it is made anew from the layer",
  });
}
