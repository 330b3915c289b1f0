import { truncated } from "./byte-queue.js";

/** Bits of a byte array, the highest of each byte first. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #next: number;
  #held = 0;
  #count = 0;

  /** Begins `bit` bits behind the byte at `byte`. */
  constructor(bytes: Uint8Array, byte: number, bit: number) {
    this.#bytes = bytes;
    this.#next = byte;
    if (bit > 0) this.read(bit);
  }

  /** The byte that the next bit is in. */
  get byte(): number {
    return this.#next - (this.#count > 0 ? 1 : 0);
  }

  /** Bits of {@link byte} that are used up. */
  get bit(): number {
    return this.#count === 0 ? 0 : 8 - this.#count;
  }

  /** The first byte of which nothing is used. */
  get nextByte(): number {
    return this.#next;
  }

  /** 1 to 24 bits. Throws DamagedError at the end. */
  read(count: number): number {
    while (this.#count < count) {
      const byte = this.#bytes[this.#next];
      if (byte === undefined) throw truncated();
      // At most 7 bits are left over from the byte before, and 24 more are asked for.
      this.#held = ((this.#held << 8) | byte) & 0x7fff_ffff;
      this.#next += 1;
      this.#count += 8;
    }
    this.#count -= count;
    const value = (this.#held >>> this.#count) & ((1 << count) - 1);
    this.#held &= (1 << this.#count) - 1;
    return value;
  }

  read32(): number {
    const high = this.read(16);
    return high * 0x1_0000 + this.read(16);
  }
}
