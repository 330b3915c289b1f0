import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { ByteQueue, DamagedError, truncated } from "./byte-queue.js";
import { LzmaDecoder, LzmaWindow } from "./lzma.js";
import { type Check, createCheck } from "./xz-check.js";

const MAGIC = Buffer.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00);
const LZMA2 = 0x21;
/** `xz -9` looks back on 64 MiB; what wants more than this would not fit the memory that a build may use. */
const LARGEST_WINDOW = 64 * 1024 * 1024; // bytes

/** Size of a block as it is stored, and as it was: what the index repeats. */
interface BlockSizes {
  readonly stored: number;
  readonly original: number;
}

/**
 * Decompresses xz (tukaani.org/xz/xz-file-format.txt), several streams in a row too. Only LZMA2 without other filters,
 * which is what archives use. Holds the window, 64 MiB at most. Checks every sum. Throws DamagedError.
 */
export async function* unxz(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const queue = new ByteQueue(chunks);
  try {
    let streams = 0;
    while (await hasStream(queue, streams)) {
      yield* stream(queue);
      streams += 1;
    }
    if (streams === 0) throw truncated();
  } finally {
    await queue.close();
  }
}

/** Zeros, four at a time, may stand between streams and behind the last one. */
async function hasStream(queue: ByteQueue, before: number): Promise<boolean> {
  while (await queue.fill(1)) {
    if (before === 0 || queue.bytes[queue.position] !== 0) return true;
    const padding = await take(queue, 4);
    if (!isZero(padding)) throw new DamagedError("something stands between two xz streams");
  }
  return false;
}

async function* stream(queue: ByteQueue): AsyncGenerator<Uint8Array, void, void> {
  const header = await take(queue, 12);
  if (!MAGIC.equals(header.subarray(0, 6))) throw new DamagedError("it is no xz stream");
  const flags = header.subarray(6, 8);
  expectSum(flags, header.subarray(8), "stream header");
  const id = flags[1] ?? 0;
  if (flags[0] !== 0 || createCheck(id) === undefined)
    throw new DamagedError("this kind of xz stream is unknown");
  const blocks: BlockSizes[] = [];
  for (;;) {
    if (!(await queue.fill(1))) throw truncated();
    if (queue.bytes[queue.position] === 0) break;
    blocks.push(yield* block(queue, createCheck(id)));
  }
  const indexSize = await readIndex(queue, blocks);
  const footer = await take(queue, 12);
  expectSum(footer.subarray(4, 10), footer.subarray(0, 4), "stream footer");
  const backward = (footer.readUInt32LE(4) + 1) * 4;
  if (
    backward !== indexSize ||
    !footer.subarray(8, 10).equals(flags) ||
    footer.toString("latin1", 10) !== "YZ"
  ) {
    throw new DamagedError("the footer of an xz stream is wrong");
  }
}

async function* block(
  queue: ByteQueue,
  check: Check | undefined,
): AsyncGenerator<Uint8Array, BlockSizes, void> {
  if (check === undefined) throw new DamagedError("this kind of xz stream is unknown");
  const headerSize = ((queue.bytes[queue.position] ?? 0) + 1) * 4;
  const header = await take(queue, headerSize);
  expectSum(header.subarray(0, -4), header.subarray(-4), "block header");
  const promised = readBlockHeader(header.subarray(0, -4));
  const window = new LzmaWindow(promised.window);
  const lzma = new Lzma2(queue, window);
  for (let piece = await lzma.next(); piece !== undefined; piece = await lzma.next()) {
    check.update(piece);
    yield piece;
    await setImmediate();
  }
  const { stored, original } = lzma;
  if ((promised.stored ?? stored) !== stored || (promised.original ?? original) !== original) {
    throw new DamagedError("an xz block has another size than it says");
  }
  if (!isZero(await take(queue, (4 - (stored % 4)) % 4)))
    throw new DamagedError("the padding of an xz block is wrong");
  const sum = await take(queue, check.size);
  if (!sum.equals(check.digest())) throw new DamagedError("the checksum of an xz block is wrong");
  return { stored: headerSize + stored + check.size, original };
}

interface BlockHeader {
  readonly window: number;
  readonly stored: number | undefined;
  readonly original: number | undefined;
}

function readBlockHeader(header: Buffer): BlockHeader {
  const flags = header[1] ?? 0;
  const fields = new VliReader(header, 2);
  const stored = (flags & 0x40) === 0 ? undefined : fields.read();
  const original = (flags & 0x80) === 0 ? undefined : fields.read();
  const filter = fields.read();
  if ((flags & 0x3f) !== 0 || filter !== LZMA2 || fields.read() !== 1) {
    throw new DamagedError("it uses a filter besides LZMA2, which is not supported");
  }
  const bits = header[fields.position] ?? 41;
  const window = bits > 40 ? Infinity : (2 | (bits & 1)) * 2 ** (Math.floor(bits / 2) + 11);
  if (window > LARGEST_WINDOW) throw new DamagedError("it needs a window larger than 64 MiB");
  if (!isZero(header.subarray(fields.position + 1)))
    throw new DamagedError("an xz block header is malformed");
  return { window, stored, original };
}

/** The chunks of LZMA2 in one block. */
class Lzma2 {
  readonly #queue: ByteQueue;
  readonly #window: LzmaWindow;
  readonly #decoder: LzmaDecoder;
  /** What must come with the next chunk before it makes sense: a fresh window, properties, a fresh state. */
  #needs: "window" | "properties" | "state" | "nothing" = "window";
  stored = 0;
  original = 0;

  constructor(queue: ByteQueue, window: LzmaWindow) {
    this.#queue = queue;
    this.#window = window;
    this.#decoder = new LzmaDecoder(window);
  }

  /** The bytes of the next chunk; `undefined` at the end. */
  async next(): Promise<Uint8Array | undefined> {
    const [control = 0] = await this.#take(1);
    if (control === 0) return undefined;
    const size = control < 0x80 ? await this.#plain(control) : await this.#compressed(control);
    this.original += size;
    return this.#window.last(size);
  }

  async #plain(control: number): Promise<number> {
    if (control > 2 || (control === 2 && this.#needs === "window")) throw malformed();
    if (control === 1) {
      this.#window.reset();
      this.#needs = this.#needs === "window" ? "properties" : this.#needs;
    }
    const size = (await this.#take(2)).readUInt16BE(0) + 1;
    for (const byte of await this.#take(size)) this.#window.put(byte);
    return size;
  }

  async #compressed(control: number): Promise<number> {
    const head = await this.#take(4);
    const size = ((control & 0x1f) << 16) + head.readUInt16BE(0) + 1;
    const stored = head.readUInt16BE(2) + 1;
    const reset = (control >> 5) & 3;
    if (reset === 3) this.#window.reset();
    else if (this.#needs === "window") throw malformed();
    if (reset >= 2) this.#decoder.setProperties((await this.#take(1))[0] ?? 0);
    else if (this.#needs === "properties") throw malformed();
    if (reset >= 1) this.#decoder.resetState();
    this.#needs = "nothing";
    const bytes = await this.#take(stored);
    this.#decoder.decode(bytes, 0, bytes.length, size);
    return size;
  }

  async #take(count: number): Promise<Buffer> {
    this.stored += count;
    return take(this.#queue, count);
  }
}

/** Checks the index against the blocks; gives its size. */
async function readIndex(queue: ByteQueue, blocks: readonly BlockSizes[]): Promise<number> {
  let sum = 0;
  let size = 0;
  const byte = async (): Promise<number> => {
    const bytes = await take(queue, 1);
    sum = crc32(bytes, sum);
    size += 1;
    return bytes[0] ?? 0;
  };
  const number = async (): Promise<number> => {
    const bytes: number[] = [];
    do bytes.push(await byte());
    while ((bytes.at(-1) ?? 0) >= 0x80 && bytes.length < 9);
    return new VliReader(Buffer.from(bytes), 0).read();
  };
  await byte();
  let matches = (await number()) === blocks.length;
  for (const { stored, original } of matches ? blocks : []) {
    matches &&= (await number()) === stored;
    matches &&= (await number()) === original;
  }
  while (matches && size % 4 !== 0) matches = (await byte()) === 0;
  const stored = await take(queue, 4);
  if (!matches || stored.readUInt32LE(0) !== sum)
    throw new DamagedError("the index of an xz stream is wrong");
  return size + 4;
}

/** Numbers of seven bits a byte, the lowest first. */
class VliReader {
  readonly #bytes: Uint8Array;
  position: number;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.position = position;
  }

  read(): number {
    let value = 0;
    for (let i = 0; i < 9; i++) {
      const byte = this.#bytes[this.position++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80 && value <= Number.MAX_SAFE_INTEGER) return value;
    }
    throw new DamagedError("a number in an xz stream is malformed");
  }
}

async function take(queue: ByteQueue, count: number): Promise<Buffer> {
  if (!(await queue.fill(count))) throw truncated();
  const start = queue.position;
  queue.position += count;
  return Buffer.from(queue.bytes.buffer, queue.bytes.byteOffset + start, count);
}

function expectSum(bytes: Uint8Array, stored: Buffer, what: string): void {
  if (crc32(bytes) !== stored.readUInt32LE(0))
    throw new DamagedError(`the checksum of an xz ${what} is wrong`);
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function malformed(): DamagedError {
  return new DamagedError("an LZMA2 chunk is malformed");
}
