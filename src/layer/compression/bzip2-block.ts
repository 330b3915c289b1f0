import type { BitReader } from "./bit-reader.js";
import { DamagedError } from "./byte-queue.js";

const GROUP = 50; // symbols that share one table
const LONGEST_CODE = 20; // bits
const RUN_A = 0;
const RUN_B = 1;
const PIECE = 64 * 1024; // bytes

/** A Huffman table: the codes of one length are consecutive numbers. */
interface Table {
  /** By length: one more than the largest code of it, as a number of that many bits. */
  readonly limits: Int32Array;
  /** By length: what a code of it is less its place in `symbols`. */
  readonly offsets: Int32Array;
  readonly symbols: Uint16Array;
}

/** Decodes bzip2's blocks, one after the other, in one set of buffers. */
export class Bzip2Block {
  readonly #capacity: number;
  /** First the bytes of the Burrows-Wheeler transform; above them, in the upper 24 bits, who follows whom. */
  readonly #chain: Uint32Array;
  readonly #crcTable: Uint32Array = crcTable();
  readonly #stack: Uint8Array = new Uint8Array(256);
  #length = 0;
  #start = 0;
  #sum = 0;

  /** `capacity`: bytes of a block at this level. */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#chain = new Uint32Array(capacity);
  }

  /** Of the bytes that `pieces` gave. */
  get sum(): number {
    return (this.#sum ^ 0xffff_ffff) >>> 0;
  }

  /** Reads what follows the block's checksum; gives nothing back but errors. */
  read(bits: BitReader): void {
    if (bits.read(1) === 1)
      throw new DamagedError("a bzip2 block is randomised, which no writer has done since 1997");
    const origin = bits.read(24);
    const used = this.#readUsed(bits);
    const tableCount = bits.read(3);
    const selectorCount = bits.read(15);
    if (tableCount < 2 || tableCount > 6 || selectorCount === 0) throw malformed();
    const selectors = readSelectors(bits, tableCount, selectorCount);
    const tables = Array.from({ length: tableCount }, () => readTable(bits, used + 2));
    const counts = this.#readSymbols(bits, tables, selectors, used);
    if (origin >= this.#length) throw malformed();
    this.#link(counts, origin);
  }

  /** The block's bytes; each piece may be kept. */
  *pieces(): Generator<Uint8Array, void, void> {
    const chain = this.#chain;
    const table = this.#crcTable;
    let out = new Uint8Array(PIECE);
    let filled = 0;
    let sum = 0xffff_ffff;
    let previous = -1;
    let run = 0;
    let at = this.#start;
    for (let i = 0; i < this.#length; i++) {
      const word = chain[at] ?? 0;
      const byte = word & 0xff;
      at = word >>> 8;
      let repeat = 1;
      if (run === 4) {
        // Four equal bytes are followed by how many more there are.
        repeat = byte;
        run = 0;
      } else {
        run = byte === previous ? run + 1 : 1;
        previous = byte;
      }
      const value = run === 0 ? previous : byte;
      if (run === 0) previous = -1;
      for (; repeat > 0; repeat--) {
        out[filled++] = value;
        sum = ((sum << 8) ^ (table[((sum >>> 24) ^ value) & 0xff] ?? 0)) >>> 0;
        if (filled === PIECE) {
          yield out;
          out = new Uint8Array(PIECE);
          filled = 0;
        }
      }
    }
    this.#sum = sum;
    if (filled > 0) yield out.subarray(0, filled);
  }

  /** Puts the bytes that occur on the stack, in their order; says how many. */
  #readUsed(bits: BitReader): number {
    const groups = bits.read(16);
    let used = 0;
    for (let group = 0; group < 16; group++) {
      if (((groups >> (15 - group)) & 1) === 0) continue;
      const members = bits.read(16);
      for (let i = 0; i < 16; i++) {
        if (((members >> (15 - i)) & 1) === 1) this.#stack[used++] = group * 16 + i;
      }
    }
    if (used === 0) throw malformed();
    return used;
  }

  /** Huffman codes, run lengths and move-to-front undone: the transform's bytes go into the chain. Gives their counts. */
  #readSymbols(
    bits: BitReader,
    tables: readonly Table[],
    selectors: Uint8Array,
    used: number,
  ): Uint32Array {
    const counts = new Uint32Array(256);
    const end = used + 1;
    let length = 0;
    let run = 0;
    let weight = 1;
    for (let symbolIndex = 0; ; symbolIndex++) {
      const selector = selectors[Math.floor(symbolIndex / GROUP)];
      const table = selector === undefined ? undefined : tables[selector];
      if (table === undefined) throw malformed();
      const symbol = readSymbol(bits, table);
      if (symbol === RUN_A || symbol === RUN_B) {
        run += weight << symbol;
        weight *= 2;
        if (run > this.#capacity) throw malformed();
        continue;
      }
      if (run > 0) {
        const byte = this.#stack[0] ?? 0;
        if (length + run > this.#capacity) throw malformed();
        this.#chain.fill(byte, length, length + run);
        counts[byte] = (counts[byte] ?? 0) + run;
        length += run;
        run = 0;
        weight = 1;
      }
      if (symbol === end) break;
      if (length >= this.#capacity) throw malformed();
      const byte = this.#toFront(symbol - 1);
      this.#chain[length++] = byte;
      counts[byte] = (counts[byte] ?? 0) + 1;
    }
    this.#length = length;
    return counts;
  }

  #toFront(place: number): number {
    const byte = this.#stack[place] ?? 0;
    this.#stack.copyWithin(1, 0, place);
    this.#stack[0] = byte;
    return byte;
  }

  /** Undoes the Burrows-Wheeler transform: beside each byte comes the place of the next one. */
  #link(counts: Uint32Array, origin: number): void {
    let total = 0;
    for (let byte = 0; byte < 256; byte++) {
      const count = counts[byte] ?? 0;
      counts[byte] = total;
      total += count;
    }
    const chain = this.#chain;
    for (let i = 0; i < this.#length; i++) {
      const byte = (chain[i] ?? 0) & 0xff;
      const place = counts[byte] ?? 0;
      counts[byte] = place + 1;
      chain[place] = (chain[place] ?? 0) | (i << 8);
    }
    this.#start = (chain[origin] ?? 0) >>> 8;
  }
}

/** Which table each group of symbols uses, as places in a list whose used ones move to the front. */
function readSelectors(bits: BitReader, tables: number, count: number): Uint8Array {
  const order = Array.from({ length: tables }, (_, i) => i);
  const selectors = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    let place = 0;
    while (bits.read(1) === 1) {
      place += 1;
      if (place >= tables) throw malformed();
    }
    const [table = 0] = order.splice(place, 1);
    order.unshift(table);
    selectors[i] = table;
  }
  return selectors;
}

function readTable(bits: BitReader, symbols: number): Table {
  const lengths = new Uint8Array(symbols);
  let length = bits.read(5);
  for (let symbol = 0; symbol < symbols; symbol++) {
    for (;;) {
      if (length < 1 || length > LONGEST_CODE) throw malformed();
      if (bits.read(1) === 0) break;
      length += bits.read(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  return makeTable(lengths);
}

function makeTable(lengths: Uint8Array): Table {
  const counts = new Uint32Array(LONGEST_CODE + 2);
  for (const length of lengths) counts[length] = (counts[length] ?? 0) + 1;
  const limits = new Int32Array(LONGEST_CODE + 1);
  const offsets = new Int32Array(LONGEST_CODE + 1);
  const starts = new Uint32Array(LONGEST_CODE + 1);
  let code = 0;
  let place = 0;
  for (let length = 1; length <= LONGEST_CODE; length++) {
    const count = counts[length] ?? 0;
    offsets[length] = code - place;
    starts[length] = place;
    code += count;
    place += count;
    if (code > 1 << length) throw malformed();
    limits[length] = count === 0 ? -1 : code;
    code <<= 1;
  }
  const symbols = new Uint16Array(lengths.length);
  for (const [symbol, length] of lengths.entries()) {
    const start = starts[length] ?? 0;
    symbols[start] = symbol;
    starts[length] = start + 1;
  }
  return { limits, offsets, symbols };
}

function readSymbol(bits: BitReader, table: Table): number {
  let code = 0;
  for (let length = 1; length <= LONGEST_CODE; length++) {
    code = (code << 1) | bits.read(1);
    if (code < (table.limits[length] ?? -1))
      return table.symbols[code - (table.offsets[length] ?? 0)] ?? 0;
  }
  throw malformed();
}

/** The polynomial of CRC-32 with the highest bit first, as only bzip2 has it. */
function crcTable(): Uint32Array {
  const table = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte << 24;
    for (let i = 0; i < 8; i++) value = value < 0 ? (value << 1) ^ 0x04c11db7 : value << 1;
    table[byte] = value >>> 0;
  }
  return table;
}

function malformed(): DamagedError {
  return new DamagedError("a bzip2 block is malformed");
}
