import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { messageOf, TsbuildError } from "../errors.js";

/** Where an index's bytes are read from. */
export interface IndexBytes {
  readonly length: number;
  /** Where `locate` has found what it was last asked for. */
  readonly buffer: Buffer;
  /** Brings `length` bytes at `start` into `buffer`, where they stay until something else is located. @returns where in it they begin */
  locate(start: number, length: number): number;
}

/** Bytes of an index that is read into memory at once: that of any ordinary layer. */
const SMALL = 12 * 1024 * 1024;
const PAGE = 32 * 1024; // bytes
/** A window may reach so far into the next page. */
const OVERLAP = 512; // bytes
const RESIDENT = 192; // pages

/** The bytes of an index in memory. */
export function bytesInMemory(bytes: Buffer): IndexBytes {
  return { length: bytes.length, buffer: bytes, locate: (start) => start };
}

/**
 * The bytes of an index file. A large one stays on the disk, but for the parts that were used last; no descriptor is held
 * in between, so that nobody has to close anything.
 * @throws TsbuildError STORE_FAILED, then and later
 */
export function bytesOfFile(path: string): IndexBytes {
  const fd = openToRead(path);
  try {
    const { size } = fstatSync(fd);
    if (size > SMALL) return new PagedFile(path, size);
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
  /** In the order of their last use. */
  readonly #pages = new Map<number, Buffer>();
  #last = -1;

  constructor(path: string, length: number) {
    this.#path = path;
    this.length = length;
  }

  locate(start: number, length: number): number {
    const number = Math.floor(start / PAGE);
    const within = start - number * PAGE;
    if (within + length > PAGE + OVERLAP) {
      this.#last = -1;
      this.buffer = this.#read(Buffer.allocUnsafeSlow(length), start);
      return 0;
    }
    if (number !== this.#last) this.buffer = this.#page(number);
    this.#last = number;
    return within;
  }

  #page(number: number): Buffer {
    const known = this.#pages.get(number);
    if (known !== undefined) this.#pages.delete(number);
    const page = known ?? this.#read(this.#room(), number * PAGE);
    this.#pages.set(number, page);
    return page;
  }

  /** The memory of the page that was not used for longest: buffers of their own would wait for the garbage collector. */
  #room(): Buffer {
    const [oldest] = this.#pages.size < RESIDENT ? [] : this.#pages;
    if (oldest === undefined) return Buffer.allocUnsafeSlow(PAGE + OVERLAP);
    this.#pages.delete(oldest[0]);
    return oldest[1];
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
