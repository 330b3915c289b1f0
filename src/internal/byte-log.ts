import { PagedBytes } from "./paged-bytes.js";
import type { SpillFile } from "./spill-file.js";

const PAGE_SIZE = 64 * 1024; // bytes

/** Bytes that are only ever added at the end, and read from anywhere. Memory is bounded; the rest is on the disk. */
export class ByteLog {
  readonly #pages: PagedBytes;
  #length = 0;

  /** @param resident Bytes that may stay in memory. */
  constructor(spill: SpillFile, resident: number) {
    this.#pages = new PagedBytes(spill, {
      pageSize: PAGE_SIZE,
      resident: Math.ceil(resident / PAGE_SIZE),
    });
  }

  /** Bytes. */
  get length(): number {
    return this.#length;
  }

  /** Adds bytes. @returns where they begin */
  append(bytes: Uint8Array): number {
    const start = this.#length;
    for (let at = 0; at < bytes.length;) {
      const within = this.#length % PAGE_SIZE;
      const count = Math.min(bytes.length - at, PAGE_SIZE - within);
      this.#last().set(bytes.subarray(at, at + count), within);
      this.#length += count;
      at += count;
    }
    return start;
  }

  /** The same for at most 64 KiB that have to lie in one piece, for {@link view}; zeros may come before them. */
  appendWhole(bytes: Uint8Array): number {
    const room = PAGE_SIZE - (this.#length % PAGE_SIZE);
    if (bytes.length > room) this.#length += room;
    return this.append(bytes);
  }

  /** What `appendWhole` added, until a few others have been looked at. */
  view(offset: number, length: number): Buffer {
    if (length === 0) return EMPTY;
    const within = offset % PAGE_SIZE;
    return this.#pages.page((offset - within) / PAGE_SIZE).subarray(within, within + length);
  }

  /** A copy of any bytes. */
  read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    this.readInto(bytes, offset);
    return bytes;
  }

  /** Fills `into`. */
  readInto(into: Uint8Array, offset: number): void {
    for (let at = 0; at < into.length;) {
      const within = (offset + at) % PAGE_SIZE;
      const count = Math.min(into.length - at, PAGE_SIZE - within);
      const page = this.#pages.page((offset + at - within) / PAGE_SIZE);
      into.set(page.subarray(within, within + count), at);
      at += count;
    }
  }

  /** Nothing is added any more. */
  freeze(): void {
    this.#pages.freeze();
  }

  /** All of it, in pieces that are good until the next one. */
  *pieces(): Generator<Buffer, void, void> {
    for (let at = 0; at < this.#length; at += PAGE_SIZE) {
      yield this.#pages.page(at / PAGE_SIZE).subarray(0, Math.min(PAGE_SIZE, this.#length - at));
    }
  }

  #last(): Buffer {
    const index = Math.floor(this.#length / PAGE_SIZE);
    if (index === this.#pages.count) this.#pages.add();
    return this.#pages.page(index);
  }
}

const EMPTY = Buffer.alloc(0);
