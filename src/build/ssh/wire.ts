/** Values as SSH writes them: RFC 4251, section 5. */

/** Reads values one after the other. Every method throws a RangeError when the bytes end before the value does. */
export class WireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get rest(): Buffer {
    return this.#bytes.subarray(this.#at);
  }

  byte(): number {
    return this.take(1).readUInt8(0);
  }

  uint32(): number {
    return this.take(4).readUInt32BE(0);
  }

  /** Bytes with their length before them. */
  string(): Buffer {
    return this.take(this.uint32());
  }

  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError("the data ends too early");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

export function wireUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function wireString(value: Uint8Array | string): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([wireUint32(bytes.length), bytes]);
}

/** A number that is not negative, given as big-endian bytes: without leading zeros, but for one that keeps the sign. */
export function wireMpint(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  const digits = bytes.subarray(start);
  const isHigh = (digits[0] ?? 0) >= 0x80;
  return wireString(isHigh ? Buffer.concat([Buffer.alloc(1), digits]) : digits);
}
