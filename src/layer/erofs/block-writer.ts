import { writeAll } from "../fd.js";

const SIZE = 64 * 1024; // bytes

/** Writes a part of a file from a place on, in pieces. What is skipped stays as it is: in a new file, zeros. */
export class BlockWriter {
  readonly #fd: number;
  readonly #what: string;
  readonly #buffer: Buffer = Buffer.allocUnsafe(SIZE);
  #filled = 0;
  #start: number;

  /** @param start Bytes. @param what For messages. */
  constructor(fd: number, start: number, what: string) {
    this.#fd = fd;
    this.#start = start;
    this.#what = what;
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#start + this.#filled;
  }

  /** @throws TsbuildError STORE_FAILED, here or in `flush` */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const piece = bytes.subarray(at, at + SIZE - this.#filled);
      this.#buffer.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === SIZE) this.flush();
    }
  }

  /** Zeros up to `position`. */
  padTo(position: number): void {
    for (let left = position - this.position; left > 0;) {
      const take = Math.min(left, SIZE - this.#filled);
      this.#buffer.fill(0, this.#filled, this.#filled + take);
      this.#filled += take;
      left -= take;
      if (this.#filled === SIZE) this.flush();
    }
  }

  flush(): void {
    writeAll(this.#fd, this.#buffer.subarray(0, this.#filled), this.#what, this.#start);
    this.#start += this.#filled;
    this.#filled = 0;
  }
}
