/** A line of a command longer than this is none. */
const MAX_LINE = 64 * 1024;

/** Reads lines and counted bytes, in turns, from one stream. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Without its line feed; `undefined` at the end. @throws Error where the stream ends amidst a line */
  async line(): Promise<string | undefined> {
    for (let from = 0; ;) {
      const end = this.#held.indexOf(0x0a, from);
      if (end >= 0) return this.#cut(end + 1).toString("utf8", 0, end);
      from = this.#held.length;
      if (from > MAX_LINE) throw new Error(`a line is longer than ${MAX_LINE} bytes`);
      if (!(await this.#more())) return this.#ended(undefined);
    }
  }

  /** That many bytes; `undefined` at the end. @throws Error where the stream ends amidst them */
  async take(size: number): Promise<Buffer | undefined> {
    while (this.#held.length < size) {
      if (!(await this.#more())) return this.#ended(undefined);
    }
    return this.#cut(size);
  }

  /** Everything up to the end, at most `limit` bytes. @throws Error where there is more */
  async rest(limit: number): Promise<Buffer> {
    const chunks = [this.#held];
    let size = this.#held.length;
    this.#held = Buffer.alloc(0);
    while (await this.#more()) {
      size += this.#held.length;
      if (size > limit) throw new Error(`more than ${limit} bytes`);
      chunks.push(this.#held);
      this.#held = Buffer.alloc(0);
    }
    return Buffer.concat(chunks);
  }

  #cut(size: number): Buffer {
    const cut = this.#held.subarray(0, size);
    this.#held = this.#held.subarray(size);
    return cut;
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#source.next();
    if (done === true) return false;
    this.#held = this.#held.length === 0 ? Buffer.from(value) : Buffer.concat([this.#held, value]);
    return true;
  }

  #ended(nothing: undefined): undefined {
    if (this.#held.length > 0) throw new Error("the stream ended early");
    return nothing;
  }
}
