/** Bytes of a stream, with as many of them at hand as a decoder needs to work without waiting. */
export class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array>;
  #ended = false;
  /** What was read and not yet dropped: valid from {@link position} to its end. */
  bytes: Uint8Array = new Uint8Array(0);
  position = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#source = chunks[Symbol.asyncIterator]();
  }

  get available(): number {
    return this.bytes.length - this.position;
  }

  /** Waits until `count` bytes are at hand or the stream has ended; says whether they are. */
  async fill(count: number): Promise<boolean> {
    if (this.available >= count) return true;
    const parts = [this.bytes.subarray(this.position)];
    let have = this.available;
    while (have < count && !this.#ended) {
      const next = await this.#source.next();
      if (next.done === true) {
        this.#ended = true;
      } else {
        parts.push(next.value);
        have += next.value.length;
      }
    }
    this.bytes = parts.length === 1 ? (parts[0] ?? this.bytes) : Buffer.concat(parts, have);
    this.position = 0;
    return have >= count;
  }

  /** Tells the source that no more will be asked for. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

/** Compressed bytes that make no sense. `decompress` gives it a name and a code. */
export class DamagedError extends Error {
  override readonly name: string = "DamagedError";
}

/** The stream ends too early. */
export function truncated(): DamagedError {
  return new DamagedError("unexpected end of file");
}
