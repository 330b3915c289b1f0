import { DamagedError } from "./byte-queue.js";

const STATES = 12;
const HALF = 1024; // a probability of one half, of 2048
const LONGEST_MATCH_LENGTH_BITS = 4; // of position, at most
const TOP = 0x100_0000;

/** Sizes of the areas of one array of probabilities, in the order of the LZMA specification. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + (STATES << LONGEST_MATCH_LENGTH_BITS);
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const DISTANCE_SLOTS = IS_REP0_LONG + (STATES << LONGEST_MATCH_LENGTH_BITS);
const DISTANCES = DISTANCE_SLOTS + 4 * 64;
const ALIGN = DISTANCES + 128;
const MATCH_LENGTHS = ALIGN + 16;
const LENGTH_AREA = 2 + (8 << LONGEST_MATCH_LENGTH_BITS) * 2 + 256;
const REP_LENGTHS = MATCH_LENGTHS + LENGTH_AREA;
const LITERALS = REP_LENGTHS + LENGTH_AREA;
/** LZMA2 allows lc + lp <= 4. */
const ALL = LITERALS + (0x300 << 4);

/**
 * The LZMA decoder inside LZMA2: one window, its probabilities, and one chunk of compressed bytes at a time.
 * Everything it reads is at hand; a chunk that asks for more is damaged. Throws DamagedError.
 */
export class LzmaDecoder {
  readonly #probabilities = new Uint16Array(ALL).fill(HALF);
  readonly #window: LzmaWindow;
  #lc = 0;
  #literalPositions = 0;
  #positions = 0;
  #state = 0;
  /** The last four distances. */
  readonly #reps: Int32Array = new Int32Array(4);
  #input: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  /** Range and code: unsigned, which fields of an object hold less well. */
  readonly #coder: Uint32Array = new Uint32Array(2);

  constructor(window: LzmaWindow) {
    this.#window = window;
  }

  /** One byte that packs lc, lp and pb. */
  setProperties(byte: number): void {
    if (byte >= 9 * 5 * 5) throw malformed();
    const lc = byte % 9;
    const lp = Math.floor(byte / 9) % 5;
    if (lc + lp > 4) throw malformed();
    this.#lc = lc;
    this.#literalPositions = (1 << lp) - 1;
    this.#positions = (1 << Math.floor(byte / 45)) - 1;
  }

  resetState(): void {
    this.#probabilities.fill(HALF);
    this.#state = 0;
    this.#reps.fill(0);
  }

  /** Decodes exactly `size` bytes into the window out of `input` from `start` to `end`. */
  decode(input: Uint8Array, start: number, end: number, size: number): void {
    this.#input = input;
    this.#end = end;
    if (end - start < 5 || input[start] !== 0) throw malformed();
    this.#at = start + 5;
    this.#coder[0] = 0xffff_ffff;
    this.#coder[1] =
      (((input[start + 1] ?? 0) << 24) |
        ((input[start + 2] ?? 0) << 16) |
        ((input[start + 3] ?? 0) << 8) |
        (input[start + 4] ?? 0)) >>>
      0;
    const window = this.#window;
    const limit = window.written + size;
    while (window.written < limit) {
      const position = window.written & this.#positions;
      if (this.#bit(IS_MATCH + (this.#state << LONGEST_MATCH_LENGTH_BITS) + position) === 0) {
        this.#literal();
        continue;
      }
      const length = this.#match(position);
      const distance = this.#reps[0] ?? 0;
      if (window.written + length > limit) throw malformed();
      window.copy(distance, length);
    }
    if (this.#at !== end || this.#coder[1] !== 0) throw malformed();
  }

  #literal(): void {
    const window = this.#window;
    const previous = window.written === 0 ? 0 : window.byteAt(0);
    const context =
      ((window.written & this.#literalPositions) << this.#lc) + (previous >> (8 - this.#lc));
    const base = LITERALS + 0x300 * context;
    let symbol = 1;
    if (this.#state >= 7) {
      let matched = window.byteAt(this.#reps[0] ?? 0);
      while (symbol < 0x100) {
        const matchedBit = (matched >> 7) & 1;
        matched <<= 1;
        const bit = this.#bit(base + ((1 + matchedBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (bit !== matchedBit) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(base + symbol);
    window.put(symbol & 0xff);
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
  }

  /** Reads a match into the first of the distances; gives its length. */
  #match(position: number): number {
    const reps = this.#reps;
    const state = this.#state;
    if (this.#bit(IS_REP + state) === 0) {
      reps.copyWithin(1, 0, 3);
      const length = this.#length(MATCH_LENGTHS, position);
      this.#state = state < 7 ? 7 : 10;
      reps[0] = this.#distance(length);
      return length;
    }
    if (this.#bit(IS_REP_G0 + state) === 0) {
      if (this.#bit(IS_REP0_LONG + (state << LONGEST_MATCH_LENGTH_BITS) + position) === 0) {
        this.#state = state < 7 ? 9 : 11;
        return 1;
      }
    } else {
      const which =
        this.#bit(IS_REP_G1 + state) === 0 ? 1 : this.#bit(IS_REP_G2 + state) === 0 ? 2 : 3;
      const distance = reps[which] ?? 0;
      reps.copyWithin(1, 0, which);
      reps[0] = distance;
    }
    const length = this.#length(REP_LENGTHS, position);
    this.#state = state < 7 ? 8 : 11;
    return length;
  }

  #length(area: number, position: number): number {
    if (this.#bit(area) === 0) return 2 + this.#tree(area + 2 + (position << 3), 3);
    const middle = area + 2 + (8 << LONGEST_MATCH_LENGTH_BITS);
    if (this.#bit(area + 1) === 0) return 10 + this.#tree(middle + (position << 3), 3);
    return 18 + this.#tree(middle + (8 << LONGEST_MATCH_LENGTH_BITS), 8);
  }

  #distance(length: number): number {
    const slot = this.#tree(DISTANCE_SLOTS + 64 * Math.min(length - 2, 3), 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) << bits;
    const distance =
      slot < 14
        ? base + this.#reverseTree(DISTANCES + base - slot, bits)
        : (base >>> 0) + this.#direct(bits - 4) * 16 + this.#reverseTree(ALIGN, 4);
    // The end marker and distances beyond any window: LZMA2 has neither.
    if (distance > 0x7fff_ffff) throw malformed();
    return distance;
  }

  #tree(base: number, bits: number): number {
    let symbol = 1;
    for (let i = 0; i < bits; i++) symbol = (symbol << 1) | this.#bit(base + symbol);
    return symbol - (1 << bits);
  }

  #reverseTree(base: number, bits: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(base + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #direct(bits: number): number {
    const coder = this.#coder;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const range = (coder[0] ?? 0) >>> 1;
      const code = coder[1] ?? 0;
      const bit = code >= range ? 1 : 0;
      coder[0] = range;
      coder[1] = code - (bit === 1 ? range : 0);
      this.#normalize();
      value = value * 2 + bit;
    }
    return value;
  }

  #bit(index: number): number {
    const coder = this.#coder;
    const range = coder[0] ?? 0;
    const code = coder[1] ?? 0;
    const probability = this.#probabilities[index] ?? HALF;
    const bound = (range >>> 11) * probability;
    if (code < bound) {
      this.#probabilities[index] = probability + ((2048 - probability) >> 5);
      coder[0] = bound;
      if (bound < TOP) this.#normalize();
      return 0;
    }
    this.#probabilities[index] = probability - (probability >> 5);
    coder[0] = range - bound;
    coder[1] = code - bound;
    if (range - bound < TOP) this.#normalize();
    return 1;
  }

  #normalize(): void {
    const coder = this.#coder;
    const range = coder[0] ?? 0;
    if (range >= TOP) return;
    if (this.#at >= this.#end) throw malformed();
    coder[0] = range << 8;
    coder[1] = ((coder[1] ?? 0) << 8) | (this.#input[this.#at++] ?? 0);
  }
}

/** What one chunk of LZMA2 holds at most: it is given out when it is complete, so it must fit. */
const LARGEST_CHUNK = 2 * 1024 * 1024; // bytes

/** The bytes that matches may look back on. It grows with what is written, up to its size. */
export class LzmaWindow {
  readonly #size: number;
  readonly #capacity: number;
  #bytes: Uint8Array;
  #at = 0;
  #total = 0;
  /** Bytes since the last reset that are still in the window. */
  #full = 0;

  constructor(size: number) {
    this.#size = size;
    this.#capacity = Math.max(size, LARGEST_CHUNK);
    this.#bytes = new Uint8Array(1 << 16);
  }

  /** Bytes since the last reset. */
  get written(): number {
    return this.#total;
  }

  reset(): void {
    this.#total = 0;
    this.#full = 0;
    this.#at = 0;
  }

  /** The byte `distance + 1` bytes ago. */
  byteAt(distance: number): number {
    if (distance >= this.#full) throw malformed();
    const at = this.#at - distance - 1;
    return this.#bytes[at < 0 ? at + this.#bytes.length : at] ?? 0;
  }

  put(byte: number): void {
    if (this.#at === this.#bytes.length) this.#wrap();
    this.#bytes[this.#at++] = byte;
    this.#total += 1;
    if (this.#full < this.#size) this.#full += 1;
  }

  copy(distance: number, length: number): void {
    if (distance >= this.#full) throw malformed();
    for (let i = 0; i < length; i++) this.put(this.byteAt(distance));
  }

  /** The last `count` bytes, a chunk's at most; copied. */
  last(count: number): Uint8Array {
    const out = new Uint8Array(count);
    const start = this.#at - count;
    if (start >= 0) {
      out.set(this.#bytes.subarray(start, this.#at));
    } else {
      out.set(this.#bytes.subarray(start));
      out.set(this.#bytes.subarray(0, this.#at), -start);
    }
    return out;
  }

  #wrap(): void {
    if (this.#bytes.length === this.#capacity) {
      this.#at = 0;
      return;
    }
    const larger = new Uint8Array(Math.min(this.#capacity, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

function malformed(): DamagedError {
  return new DamagedError("an LZMA chunk is malformed");
}
