import { DamagedError } from "./byte-source.js";

const STATES = 12;
const MAX_POSITION_STATES = 16;
const MATCH_MIN = 2;
const FIRST_MATCH_STATE = 7;
const TOP = 0x1000000;
const HALF = 1024; // a probability of one half, of 2048

/** Places of the probabilities in one array. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * MAX_POSITION_STATES;
const IS_REP0 = IS_REP + STATES;
const IS_REP1 = IS_REP0 + STATES;
const IS_REP2 = IS_REP1 + STATES;
const IS_REP0_LONG = IS_REP2 + STATES;
const DISTANCE_SLOT = IS_REP0_LONG + STATES * MAX_POSITION_STATES;
const DISTANCE_SPECIAL = DISTANCE_SLOT + 4 * 64;
const DISTANCE_ALIGN = DISTANCE_SPECIAL + 128;
const MATCH_LENGTH = DISTANCE_ALIGN + 16;
const LENGTH_SIZE = 2 + MAX_POSITION_STATES * 16 + 256;
const REP_LENGTH = MATCH_LENGTH + LENGTH_SIZE;
const LITERAL = REP_LENGTH + LENGTH_SIZE;
/** lc + lp is at most 4 in LZMA2. */
const SIZE = LITERAL + (0x300 << 4);

/**
 * The LZMA decoder for the chunks of LZMA2 (https://www.7-zip.org/sdk.html, lzma-specification): each chunk is in memory,
 * and so is the window that it writes to.
 */
export class LzmaDecoder {
  readonly #probs: Uint16Array = new Uint16Array(SIZE);
  #lc = 0;
  #lp = 0;
  #pb = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;

  #input: Uint8Array = new Uint8Array(0);
  #at = 0;
  #range = 0;
  #code = 0;

  #window: Uint8Array = new Uint8Array(0);
  #position = 0;
  /** Where the oldest byte that may be copied lies in the window. */
  #start = 0;

  /** @throws DamagedError */
  setProperties(value: number): void {
    if (value >= 225) throw new DamagedError("its properties are none");
    this.#lc = value % 9;
    this.#lp = Math.floor(value / 9) % 5;
    this.#pb = Math.floor(value / 45);
    if (this.#lc + this.#lp > 4) throw new DamagedError("its properties are none");
  }

  resetState(): void {
    this.#probs.fill(HALF);
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  /**
   * Decodes a chunk to `window[position, end)`; `start` is where the dictionary begins there; `total` counts the bytes of
   * the dictionary before `position`.
   * @throws DamagedError
   */
  decode(input: Uint8Array, window: Uint8Array, place: WindowPlace): void {
    this.#input = input;
    this.#window = window;
    this.#position = place.position;
    this.#start = place.start;
    if (input.length < 5 || input[0] !== 0) throw new DamagedError("a chunk does not begin as one");
    this.#at = 1;
    this.#range = 0xffffffff;
    this.#code = 0;
    for (let i = 0; i < 4; i++) this.#code = ((this.#code << 8) | this.#nextByte()) >>> 0;
    // Positions count from the dictionary's begin, the window slides.
    const base = place.total - place.position;
    while (this.#position < place.end) this.#step(base, place.end);
    if (this.#position !== place.end || this.#at !== input.length || this.#code !== 0) {
      throw new DamagedError("a chunk does not end where it should");
    }
  }

  #step(base: number, end: number): void {
    const position = base + this.#position;
    const positionState = position & ((1 << this.#pb) - 1);
    if (this.#bit(IS_MATCH + this.#state * MAX_POSITION_STATES + positionState) === 0) {
      this.#literal(position);
      return;
    }
    let length: number;
    if (this.#bit(IS_REP + this.#state) === 0) {
      this.#rep3 = this.#rep2;
      this.#rep2 = this.#rep1;
      this.#rep1 = this.#rep0;
      length = this.#length(MATCH_LENGTH, positionState);
      this.#state = this.#state < FIRST_MATCH_STATE ? 7 : 10;
      this.#rep0 = this.#distance(length);
    } else {
      length = this.#repeated(positionState);
    }
    this.#copy(length, end);
  }

  #literal(position: number): void {
    const window = this.#window;
    const at = this.#position;
    const previous = at > this.#start ? (window[at - 1] ?? 0) : 0;
    const context = ((position & ((1 << this.#lp) - 1)) << this.#lc) + (previous >> (8 - this.#lc));
    const table = LITERAL + 0x300 * context;
    let symbol = 1;
    if (this.#state >= FIRST_MATCH_STATE) {
      let match = this.#back();
      while (symbol < 0x100) {
        const matchBit = (match >> 7) & 1;
        match <<= 1;
        const bit = this.#bit(table + ((1 + matchBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (matchBit !== bit) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(table + symbol);
    window[at] = symbol & 0xff;
    this.#position = at + 1;
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
  }

  #repeated(positionState: number): number {
    const state = this.#state;
    if (this.#bit(IS_REP0 + state) === 0) {
      if (this.#bit(IS_REP0_LONG + state * MAX_POSITION_STATES + positionState) === 0) {
        this.#state = state < FIRST_MATCH_STATE ? 9 : 11;
        return 1;
      }
    } else {
      let distance: number;
      if (this.#bit(IS_REP1 + state) === 0) {
        distance = this.#rep1;
      } else {
        if (this.#bit(IS_REP2 + state) === 0) {
          distance = this.#rep2;
        } else {
          distance = this.#rep3;
          this.#rep3 = this.#rep2;
        }
        this.#rep2 = this.#rep1;
      }
      this.#rep1 = this.#rep0;
      this.#rep0 = distance;
    }
    this.#state = state < FIRST_MATCH_STATE ? 8 : 11;
    return this.#length(REP_LENGTH, positionState);
  }

  #length(table: number, positionState: number): number {
    if (this.#bit(table) === 0) return MATCH_MIN + this.#tree(table + 2 + positionState * 8, 3);
    if (this.#bit(table + 1) === 0) {
      return MATCH_MIN + 8 + this.#tree(table + 2 + (MAX_POSITION_STATES + positionState) * 8, 3);
    }
    return MATCH_MIN + 16 + this.#tree(table + 2 + MAX_POSITION_STATES * 16, 8);
  }

  #distance(length: number): number {
    const lengthState = Math.min(length - MATCH_MIN, 3);
    const slot = this.#tree(DISTANCE_SLOT + lengthState * 64, 6);
    if (slot < 4) return slot;
    const count = (slot >> 1) - 1;
    const high = (2 | (slot & 1)) * 2 ** count;
    if (slot < 14) return high + this.#reverseTree(DISTANCE_SPECIAL + high - slot, count);
    const direct = this.#direct(count - 4) * 16;
    return high + direct + this.#reverseTree(DISTANCE_ALIGN, 4);
  }

  #copy(length: number, end: number): void {
    const window = this.#window;
    const distance = this.#rep0 + 1;
    let at = this.#position;
    if (distance > at - this.#start) throw new DamagedError("it copies from before its begin");
    if (at + length > end) throw new DamagedError("a chunk is longer than it says");
    for (const to = at + length; at < to; at++) window[at] = window[at - distance] ?? 0;
    this.#position = at;
  }

  /** The byte that a match would copy. */
  #back(): number {
    const at = this.#position - this.#rep0 - 1;
    if (at < this.#start) throw new DamagedError("it copies from before its begin");
    return this.#window[at] ?? 0;
  }

  #bit(index: number): number {
    const probability = this.#probs[index] ?? HALF;
    const bound = (this.#range >>> 11) * probability;
    let bit = 0;
    if (this.#code < bound) {
      this.#range = bound;
      this.#probs[index] = probability + ((2048 - probability) >> 5);
    } else {
      this.#range -= bound;
      this.#code -= bound;
      this.#probs[index] = probability - (probability >> 5);
      bit = 1;
    }
    if (this.#range < TOP) this.#normalize();
    return bit;
  }

  #tree(table: number, bits: number): number {
    let symbol = 1;
    for (let i = 0; i < bits; i++) symbol = (symbol << 1) | this.#bit(table + symbol);
    return symbol - (1 << bits);
  }

  #reverseTree(table: number, bits: number): number {
    let symbol = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(table + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #direct(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      this.#range >>>= 1;
      const bit = this.#code >= this.#range ? 1 : 0;
      if (bit === 1) this.#code -= this.#range;
      if (this.#range < TOP) this.#normalize();
      value = value * 2 + bit;
    }
    return value;
  }

  #normalize(): void {
    this.#range = (this.#range << 8) >>> 0;
    this.#code = ((this.#code << 8) | this.#nextByte()) >>> 0;
  }

  #nextByte(): number {
    const value = this.#input[this.#at++];
    if (value === undefined) throw new DamagedError("a chunk is shorter than it says");
    return value;
  }
}

export interface WindowPlace {
  readonly position: number;
  readonly end: number;
  readonly start: number;
  readonly total: number;
}
