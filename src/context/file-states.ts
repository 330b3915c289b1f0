import { constants, lstatSync, type BigIntStats } from "node:fs";
import type { Statx } from "../internal/statx.js";
import { hasSettledSince } from "../internal/settled.js";

/** Words that tell one state of a file from the next. */
export const STATE_WORDS = 16;
/** Files after which it pays to load the faster call. */
const MANY = 2048;
const WORD = 2 ** 32;
const WORD_BITS = 32n;
const BILLION = 1_000_000_000n;
/** Where in a state what stands; 64-bit numbers with the lower word first. */
const [MODE, MTIME, CTIME, NLINK] = [0, 7, 10, 15];
/** The same words in the kernel's `struct statx`: dev, ino, size, mtime, ctime, rdev. */
const IN_STATX = [34, 35, 8, 9, 10, 11, 28, 29, 30, 24, 25, 26, 32, 33] as const;
const MODE_IN_STATX = 7;
const NLINK_IN_STATX = 4;

/** What a look has found; "linked": a file with several names. */
export type Look = "gone" | "directory" | "linked" | "other";

/** Looks at files for what tells their states apart; many of them by the faster call, where there is one. */
export class FileStates {
  readonly #load: () => Statx | undefined;
  #statx: Statx | undefined;
  #looks = 0;

  constructor(load: () => Statx | undefined) {
    this.#load = load;
  }

  /** Puts a state into `words` from `at` on: of a directory its mode alone, since what is in it has states of its own. */
  look(path: string, words: Uint32Array, at: number): Look {
    if (this.#looks++ === MANY) this.#statx = this.#load();
    if (this.#statx?.look(path) === true) noteStatx(this.#statx.words, words, at);
    else {
      const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
      if (stats === undefined) return "gone";
      noteStats(stats, words, at);
    }
    const links = words[at + NLINK] ?? 0;
    words[at + NLINK] = 0;
    const type = (words[at + MODE] ?? 0) & constants.S_IFMT;
    if (type === constants.S_IFDIR) {
      words.fill(0, at + MODE + 1, at + STATE_WORDS);
      return "directory";
    }
    return type === constants.S_IFREG && links > 1 ? "linked" : "other";
  }
}

/** @param now when the look began, in milliseconds since the epoch */
export function isStateSettled(words: Uint32Array, at: number, now: number): boolean {
  return isTimeSettled(words, at + MTIME, now) && isTimeSettled(words, at + CTIME, now);
}

function isTimeSettled(words: Uint32Array, at: number, now: number): boolean {
  const high = (words[at + 1] ?? 0) | 0;
  return hasSettledSince(high * WORD + (words[at] ?? 0), words[at + 2] ?? 0, now);
}

function noteStatx(from: Uint32Array, words: Uint32Array, at: number): void {
  words[at + MODE] = (from[MODE_IN_STATX] ?? 0) & 0xffff;
  let to = at + MODE + 1;
  for (const word of IN_STATX) words[to++] = from[word] ?? 0;
  words[at + NLINK] = from[NLINK_IN_STATX] ?? 0;
}

/** The same words. */
function noteStats(stats: BigIntStats, words: Uint32Array, at: number): void {
  let to = at;
  words[to++] = Number(stats.mode);
  const put = (low: bigint, high: bigint): void => {
    words[to++] = Number(BigInt.asUintN(32, low));
    words[to++] = Number(BigInt.asUintN(32, high));
  };
  const { dev, rdev, ino, size, mtimeNs, ctimeNs } = stats;
  put(majorOf(dev), minorOf(dev));
  put(ino, ino >> WORD_BITS);
  put(size, size >> WORD_BITS);
  for (const time of [mtimeNs, ctimeNs]) {
    const part = ((time % BILLION) + BILLION) % BILLION;
    const seconds = (time - part) / BILLION;
    put(seconds, seconds >> WORD_BITS);
    words[to++] = Number(part);
  }
  put(majorOf(rdev), minorOf(rdev));
  words[to] = Number(stats.nlink);
}

/** Linux' encoding of `dev_t`. */
export function majorOf(device: bigint): bigint {
  return ((device >> 8n) & 0xfffn) | ((device >> WORD_BITS) & 0xfffff000n);
}

/** Linux' encoding of `dev_t`. */
export function minorOf(device: bigint): bigint {
  return (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
}
