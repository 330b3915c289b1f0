import { fieldBytes, parseDecimal, readNumber } from "./numbers.js";
import type { PaxRecord } from "./pax.js";
import { decodeName } from "../path-bytes.js";

/** Where the stored bytes of a sparse file belong: offset and length, in turn. Everything between is zeros. */
export type SparseMap = readonly number[];

/** Pairs in one map: 16 MiB of memory at most, and maps of real files are far smaller. */
export const MAX_SPARSE_PAIRS = 0x10_0000;

/** The four pairs of an old GNU header (type S) or the 21 of its extension blocks; `undefined` when malformed. */
export function readGnuPairs(block: Uint8Array, at: number, count: number): number[] | undefined {
  const pairs: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = at + i * 24;
    if (block[start] === 0) break;
    const offset = readNumber(block, start, 12);
    const length = readNumber(block, start + 12, 12);
    if (offset === undefined || length === undefined) return undefined;
    pairs.push(offset, length);
  }
  return pairs;
}

/** What PAX records say of a sparse file (GNU tar's formats 0.0, 0.1 and 1.0). */
export interface PaxSparse {
  /** `undefined` for 1.0, whose map comes before the data. */
  readonly map: SparseMap | undefined;
  readonly realSize: number;
  readonly name: string | undefined;
}

/** `undefined` when the records do not speak of a sparse file, `"malformed"` when they do and make no sense. */
export function readPaxSparse(records: readonly PaxRecord[]): PaxSparse | "malformed" | undefined {
  const pairs: number[] = [];
  let map: SparseMap | undefined;
  let major: string | undefined;
  let realSize: number | undefined;
  let name: string | undefined;
  let seen = false;
  for (const { key, value } of records) {
    if (!key.startsWith("GNU.sparse.")) continue;
    seen = true;
    const text = Buffer.from(value).toString("latin1");
    switch (key.slice("GNU.sparse.".length)) {
      case "major":
        major = text;
        break;
      case "size":
      case "realsize":
        realSize = parseDecimal(text);
        break;
      case "name":
        if (value.includes(0)) return "malformed";
        name = decodeName(value);
        break;
      case "map":
        map = text === "" ? [] : parseNumbers(text.split(","));
        if (map === undefined) return "malformed";
        break;
      case "offset":
      case "numbytes":
        pairs.push(parseDecimal(text) ?? -1);
        break;
      default: // minor, numblocks: tell nothing more
    }
  }
  if (!seen) return undefined;
  if (realSize === undefined || (major !== undefined && major !== "0" && major !== "1"))
    return "malformed";
  return { map: major === "1" ? undefined : (map ?? pairs), realSize, name };
}

/** Reads the map that format 1.0 puts before the data: decimal lines, the first one counts the pairs. */
export class SparseMapReader {
  readonly #numbers: number[] = [];
  #digits = "";
  #wanted = 1;

  /** Takes one 512-byte block; "more" until the map is complete. */
  add(block: Uint8Array): SparseMap | "more" | "malformed" {
    for (const byte of block) {
      if (byte !== 0x0a) {
        this.#digits += String.fromCharCode(byte);
        if (this.#digits.length > 16) return "malformed";
        continue;
      }
      const value = parseDecimal(this.#digits);
      if (value === undefined) return "malformed";
      this.#digits = "";
      if (this.#wanted === 1) {
        if (value > MAX_SPARSE_PAIRS) return "malformed";
        this.#wanted = 1 + 2 * value;
      }
      this.#numbers.push(value);
      if (this.#numbers.length === this.#wanted) return this.#numbers.slice(1);
    }
    return "more";
  }
}

/** Hands the stored bytes of a sparse file out at their places, with the holes between them. */
export class SparseSpreader {
  readonly #map: SparseMap;
  readonly #size: number;
  readonly #to: { data(chunk: Uint8Array): void; hole(bytes: number): void };
  #segment = -2;
  #segmentLeft = 0;
  #position = 0;

  constructor(
    map: SparseMap,
    size: number,
    to: { data(chunk: Uint8Array): void; hole(bytes: number): void },
  ) {
    this.#map = map;
    this.#size = size;
    this.#to = to;
  }

  /** The next stored bytes; the map is sound, so there is room for them. */
  data(data: Uint8Array): void {
    let at = 0;
    while (at < data.length) {
      while (this.#segmentLeft === 0) {
        this.#segment += 2;
        this.#holeUntil(this.#map[this.#segment] ?? this.#size);
        this.#segmentLeft = this.#map[this.#segment + 1] ?? data.length;
      }
      const take = Math.min(this.#segmentLeft, data.length - at);
      this.#to.data(data.subarray(at, at + take));
      this.#segmentLeft -= take;
      this.#position += take;
      at += take;
    }
  }

  finish(): void {
    this.#holeUntil(this.#size);
  }

  #holeUntil(position: number): void {
    if (position > this.#position) this.#to.hole(position - this.#position);
    this.#position = Math.max(position, this.#position);
  }
}

/** True when the pairs ascend, stay within the file and account for every stored byte. */
export function isSound(map: SparseMap, realSize: number, storedSize: number): boolean {
  if (map.length % 2 !== 0 || map.length > 2 * MAX_SPARSE_PAIRS) return false;
  let end = 0;
  let stored = 0;
  for (let i = 0; i < map.length; i += 2) {
    const offset = map[i] ?? -1;
    const length = map[i + 1] ?? -1;
    if (offset < end || length < 0 || offset + length > realSize) return false;
    end = offset + length;
    stored += length;
  }
  return stored === storedSize;
}

/** The old GNU header's real size. */
export function gnuRealSize(block: Uint8Array): number | undefined {
  return fieldBytes(block, 483, 12).length === 0 ? undefined : readNumber(block, 483, 12);
}

function parseNumbers(texts: readonly string[]): SparseMap | undefined {
  const numbers: number[] = [];
  for (const text of texts) {
    const value = parseDecimal(text);
    if (value === undefined) return undefined;
    numbers.push(value);
  }
  return numbers;
}
