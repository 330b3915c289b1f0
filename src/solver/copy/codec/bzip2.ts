import type { FileReader } from "../../../oci/tree.js";
import { ByteSource, DamagedError } from "./byte-source.js";

/** The digits of pi, and of its square root, begin blocks and end streams. */
const BLOCK_MAGIC = 0x314159265359;
const END_MAGIC = 0x177245385090;
/** Bytes of a block, times the level. */
const LEVEL_UNIT = 100_000;
const MAX_CODE_LENGTH = 20;
/** Symbols that are decoded before the next table is selected. */
const GROUP_SIZE = 50;
/** A run is written as four equal bytes and a count. */
const RUN_START = 4;
const OUTPUT = 256 * 1024; // bytes

/** The content of a bzip2 file, several streams one after the other too. Memory: at most 5 MB. @throws DamagedError */
export function* bunzip2(reader: FileReader): Generator<Uint8Array, void, void> {
  const bits = new BitReader(new ByteSource(reader));
  const crcTable = makeCrcTable();
  let links = new Uint32Array(0);
  for (let first = true; ; first = false) {
    const level = readStreamHeader(bits, first);
    if (level === undefined) return;
    if (links.length < level * LEVEL_UNIT) links = new Uint32Array(level * LEVEL_UNIT);
    let combined = 0;
    for (;;) {
      const magic = bits.read(24) * 0x1000000 + bits.read(24);
      if (magic === END_MAGIC) break;
      if (magic !== BLOCK_MAGIC) throw new DamagedError("a block does not begin as one");
      const wanted = bits.read32();
      const block = readBlock(bits, links);
      const crc = yield* writeBlock(block, links, crcTable);
      if (crc !== wanted) throw new DamagedError("a block's checksum is wrong");
      combined = (((combined << 1) | (combined >>> 31)) ^ crc) >>> 0;
    }
    if (bits.read32() !== combined) throw new DamagedError("the checksum is wrong");
    bits.align();
  }
}

/** The level, 1 to 9; `undefined` at the end of the file. */
function readStreamHeader(bits: BitReader, first: boolean): number | undefined {
  if (!first && bits.atEnd()) return undefined;
  const magic = bits.read(24);
  const level = bits.read(8) - 0x30;
  if (magic !== 0x425a68 || level < 1 || level > 9) {
    throw new DamagedError("a stream does not begin as one");
  }
  return level;
}

interface Block {
  readonly length: number;
  readonly start: number;
}

/** Fills the low bytes of `links` with the transformed block. */
function readBlock(bits: BitReader, links: Uint32Array): Block {
  if (bits.read(1) === 1)
    throw new DamagedError("it uses randomised blocks, which nothing writes any more");
  const start = bits.read(24);
  const symbols = readSymbols(bits);
  const tables = bits.read(3);
  const selectorCount = bits.read(15);
  if (tables < 2 || tables > 6 || selectorCount === 0)
    throw new DamagedError("a block has no tables");
  const selectors = readSelectors(bits, selectorCount, tables);
  const decoders = Array.from({ length: tables }, () => new Huffman(bits, symbols.length + 2));
  const length = readContent(bits, links, symbols, (group) => decoders[selectors[group] ?? -1]);
  if (start >= length) throw new DamagedError("a block begins nowhere");
  return { length, start };
}

/** The byte values that occur. */
function readSymbols(bits: BitReader): number[] {
  const ranges = bits.read(16);
  const symbols: number[] = [];
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >> range)) === 0) continue;
    const used = bits.read(16);
    for (let i = 0; i < 16; i++) if ((used & (0x8000 >> i)) !== 0) symbols.push(range * 16 + i);
  }
  if (symbols.length === 0) throw new DamagedError("a block is empty");
  return symbols;
}

function readSelectors(bits: BitReader, count: number, tables: number): Uint8Array {
  const recent = Array.from({ length: tables }, (_, i) => i);
  const selectors = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    let position = 0;
    while (bits.read(1) === 1) {
      if (++position >= tables) throw new DamagedError("a table is selected that does not exist");
    }
    const [table = 0] = recent.splice(position, 1);
    recent.unshift(table);
    selectors[i] = table;
  }
  return selectors;
}

function readContent(
  bits: BitReader,
  links: Uint32Array,
  symbols: number[],
  decoderOf: (group: number) => Huffman | undefined,
): number {
  const end = symbols.length + 1;
  let length = 0;
  let run = 0;
  let runUnit = 1;
  for (let decoded = 0; ; decoded++) {
    const decoder = decoderOf(Math.floor(decoded / GROUP_SIZE));
    if (decoder === undefined) throw new DamagedError("a block is longer than it says");
    const symbol = decoder.decode(bits);
    // 0 and 1 are the digits of a run's length, in bijective base 2.
    if (symbol <= 1) {
      run += runUnit << symbol;
      runUnit *= 2;
      if (run > links.length) throw new DamagedError("a run is too long");
      continue;
    }
    if (run > 0) {
      if (length + run > links.length) throw new DamagedError("a block is too long");
      links.fill(symbols[0] ?? 0, length, length + run);
      length += run;
      run = 0;
      runUnit = 1;
    }
    if (symbol === end) return length;
    if (length >= links.length) throw new DamagedError("a block is too long");
    const [value = 0] = symbols.splice(symbol - 1, 1);
    symbols.unshift(value);
    links[length++] = value;
  }
}

/** Undoes the sorting (each link's upper bits lead to the next byte), then the first run-length code. */
function* writeBlock(
  { length, start }: Block,
  links: Uint32Array,
  crcTable: Uint32Array,
): Generator<Uint8Array, number, void> {
  linkBlock(links, length);
  let out = Buffer.allocUnsafe(OUTPUT);
  let filled = 0;
  let crc = 0xffffffff;
  let previous = -1;
  let repeated = 0;
  let link = (links[start] ?? 0) >>> 8;
  for (let i = 0; i < length; i++) {
    const item = links[link] ?? 0;
    link = item >>> 8;
    const value = item & 0xff;
    let count = 1;
    let byte = value;
    if (repeated === RUN_START) {
      count = value;
      byte = previous;
      repeated = 0;
      previous = -1;
    } else {
      repeated = value === previous ? repeated + 1 : 1;
      previous = value;
    }
    for (let n = 0; n < count; n++) {
      crc = (crc << 8) ^ (crcTable[((crc >>> 24) ^ byte) & 0xff] ?? 0);
      out[filled++] = byte;
      if (filled === OUTPUT) {
        yield out;
        out = Buffer.allocUnsafe(OUTPUT);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield out.subarray(0, filled);
  return ~crc >>> 0;
}

function linkBlock(links: Uint32Array, length: number): void {
  const next = new Uint32Array(256);
  for (let i = 0; i < length; i++) {
    const value = (links[i] ?? 0) & 0xff;
    next[value] = (next[value] ?? 0) + 1;
  }
  let sum = 0;
  for (let value = 0; value < 256; value++) {
    const count = next[value] ?? 0;
    next[value] = sum;
    sum += count;
  }
  for (let i = 0; i < length; i++) {
    const value = (links[i] ?? 0) & 0xff;
    const place = next[value] ?? 0;
    next[value] = place + 1;
    links[place] = ((links[place] ?? 0) & 0xff) | (i << 8);
  }
}

/** A canonical code, decoded length by length. */
class Huffman {
  /** How many codes there are of each length. */
  readonly #counts: Uint16Array = new Uint16Array(MAX_CODE_LENGTH + 1);
  /** In the order of their codes. */
  readonly #symbols: Uint16Array;

  constructor(bits: BitReader, size: number) {
    const lengths = new Uint8Array(size);
    let length = bits.read(5);
    for (let i = 0; i < size; i++) {
      while (bits.read(1) === 1) length += bits.read(1) === 1 ? -1 : 1;
      if (length < 1 || length > MAX_CODE_LENGTH) throw new DamagedError("a code has no length");
      lengths[i] = length;
    }
    const offsets = new Uint16Array(MAX_CODE_LENGTH + 2);
    for (const one of lengths) this.#counts[one] = (this.#counts[one] ?? 0) + 1;
    for (let i = 1; i <= MAX_CODE_LENGTH; i++) {
      offsets[i + 1] = (offsets[i] ?? 0) + (this.#counts[i] ?? 0);
    }
    this.#symbols = new Uint16Array(size);
    for (const [symbol, one] of lengths.entries()) {
      const place = offsets[one] ?? 0;
      this.#symbols[place] = symbol;
      offsets[one] = place + 1;
    }
  }

  decode(bits: BitReader): number {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= MAX_CODE_LENGTH; length++) {
      code = (code << 1) | bits.bit();
      const count = this.#counts[length] ?? 0;
      if (code - first < count) return this.#symbols[index + code - first] ?? 0;
      index += count;
      first = (first + count) << 1;
    }
    throw new DamagedError("a code is not in its table");
  }
}

/** Most significant bits first. */
class BitReader {
  readonly #source: ByteSource;
  #held = 0;
  #count = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  bit(): number {
    if (this.#count === 0) {
      this.#held = this.#source.byte();
      this.#count = 8;
    }
    this.#count--;
    return (this.#held >> this.#count) & 1;
  }

  /** Up to 24. */
  read(count: number): number {
    let value = 0;
    for (let left = count; left > 0;) {
      if (this.#count === 0) {
        this.#held = this.#source.byte();
        this.#count = 8;
      }
      const take = Math.min(left, this.#count);
      this.#count -= take;
      value = (value << take) | ((this.#held >> this.#count) & ((1 << take) - 1));
      left -= take;
    }
    return value;
  }

  read32(): number {
    return this.read(16) * 0x10000 + this.read(16);
  }

  align(): void {
    this.#count = 0;
  }

  /** Only when aligned. */
  atEnd(): boolean {
    const value = this.#source.next();
    if (value < 0) return true;
    this.#held = value;
    this.#count = 8;
    return false;
  }
}

/** CRC-32 with the most significant bit first, unlike zlib's. */
function makeCrcTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, i) => {
    let crc = i << 24;
    for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? 0x04c11db7 : 0);
    return crc >>> 0;
  });
}
