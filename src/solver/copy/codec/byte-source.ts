import type { FileReader } from "../../../oci/tree.js";

/** The bytes are not what their format says. The message says why. */
export class DamagedError extends Error {
  override readonly name: string = "DamagedError";
}

const CHUNK = 64 * 1024; // bytes

/** A file byte by byte. */
export class ByteSource {
  readonly #reader: FileReader;
  readonly #buffer: Buffer = Buffer.allocUnsafe(CHUNK);
  #at = 0;
  #end = 0;
  #taken = 0;

  constructor(reader: FileReader) {
    this.#reader = reader;
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#taken + this.#at;
  }

  /** -1 at the end. */
  next(): number {
    if (this.#at === this.#end && !this.#fill()) return -1;
    return this.#buffer[this.#at++] ?? -1;
  }

  /** @throws DamagedError at the end */
  byte(): number {
    const value = this.next();
    if (value < 0) throw new DamagedError("it is truncated");
    return value;
  }

  /** A copy. @throws DamagedError at the end */
  bytes(count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count);
    for (let done = 0; done < count;) {
      if (this.#at === this.#end && !this.#fill()) throw new DamagedError("it is truncated");
      const take = Math.min(count - done, this.#end - this.#at);
      this.#buffer.copy(bytes, done, this.#at, this.#at + take);
      this.#at += take;
      done += take;
    }
    return bytes;
  }

  #fill(): boolean {
    this.#taken += this.#end;
    this.#at = 0;
    this.#end = this.#reader.read(this.#buffer);
    return this.#end > 0;
  }
}
