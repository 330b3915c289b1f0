import { createHash, type Hash } from "node:crypto";
import { TsbuildError } from "../errors.js";

/** Bytes between the two threads. A power of two, so that counts may wrap. */
const CAPACITY = 1 << 20;
/** Bytes of the longest record: what is hashed before the room it took is given back. */
const PIECE = 1 << 17;
/** Bytes: whose, and how many follow. Records begin at multiples of it, so none of these is cut in two. */
const HEAD = 8;
/** In the place of a length. */
const DIGEST = 0xffff_ffff;
const DROP = 0xffff_fffe;

/** Words in front of the bytes. The first two count bytes since the start and wrap at 2^32. */
const WRITTEN = 0;
const HASHED = 1;
const STATE = 2;
/** Each side waits on its own word, which the other one changes after everything it does. */
const BELL_OF_HASHER = 3;
const BELL_OF_WRITER = 4;
/** Digests that were asked for and given: the writer waits for each. */
const ANSWERED = 5;
const CONTROL_SIZE = 64;
const DIGEST_AT = 32;
const DIGEST_SIZE = 32;

/** Nobody hashes yet. */
const NEW = 0;
/** Another thread does. */
const SERVED = 1;
/** None came in time, or none can be had: the writer does it itself. */
const TAKEN = 2;
const CLOSED = 3;
const LOST = 4;

/** Milliseconds for a thread to start; more and the writer goes on alone. */
const START_MS = 1000;
/** Milliseconds in which a thread that is there hashes one record, several times over: a process may have been stopped meanwhile. */
const STALL_MS = 10_000;
const STALLS = 6;

/** Shared by a thread that has bytes and one that hashes them: records of any number of hashes, in their order. */
export type HashRing = SharedArrayBuffer;

export function createHashRing(): HashRing {
  return new SharedArrayBuffer(CONTROL_SIZE + CAPACITY);
}

/** Nobody else hashes (any more): the writer does it, unless something is lost already. Wakes both sides. */
export function abandonHashRing(ring: HashRing): void {
  const control = controlOf(ring);
  Atomics.compareExchange(control, STATE, NEW, TAKEN);
  Atomics.compareExchange(control, STATE, SERVED, LOST);
  ringBell(control, BELL_OF_HASHER);
  ringBell(control, BELL_OF_WRITER);
}

/** Nothing more will be asked for: the thread that hashes returns. */
export function closeHashRing(ring: HashRing): void {
  const control = controlOf(ring);
  Atomics.store(control, STATE, CLOSED);
  ringBell(control, BELL_OF_HASHER);
  ringBell(control, BELL_OF_WRITER);
}

/** The writing side, of one thread. It blocks while the other one is a whole ring behind, and until a digest is there. */
export class HashRingWriter {
  readonly #ring: HashRing;
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  #written = 0;
  #lastId = 0;
  #own: Hasher | undefined;

  constructor(ring: HashRing) {
    this.#ring = ring;
    this.#control = controlOf(ring);
    this.#bytes = new Uint8Array(ring, CONTROL_SIZE);
    this.#words = new Uint32Array(ring, CONTROL_SIZE);
  }

  /** A number for a new hash. */
  begin(): number {
    this.#lastId = (this.#lastId + 1) >>> 0;
    return this.#lastId;
  }

  /** The bytes are copied. @throws TsbuildError INTERNAL when the other thread is gone */
  update(id: number, chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const from = this.#position();
      const count = Math.min(chunk.length - at, PIECE, CAPACITY - HEAD - from);
      const size = HEAD + padded(count);
      this.#waitUntil(() => this.#room() >= size);
      this.#bytes.set(chunk.subarray(at, at + count), from + HEAD);
      this.#put(id, count, size);
      at += count;
    }
  }

  /** The sha256 in hex; the number is free again. @throws TsbuildError INTERNAL when the other thread is gone */
  digest(id: number): string {
    const before = Atomics.load(this.#control, ANSWERED);
    this.#waitUntil(() => this.#room() >= HEAD);
    this.#put(id, DIGEST, HEAD);
    this.#waitUntil(() => Atomics.load(this.#control, ANSWERED) !== before);
    return Buffer.from(new Uint8Array(this.#ring, DIGEST_AT, DIGEST_SIZE)).toString("hex");
  }

  /** Nobody wants that hash any more. Never fails: with its thread, what that keeps is gone as well. */
  drop(id: number): void {
    try {
      this.#waitUntil(() => this.#room() >= HEAD);
      this.#put(id, DROP, HEAD);
    } catch {
      // Whoever still wants one hears of it.
    }
  }

  #position(): number {
    return this.#written & (CAPACITY - 1);
  }

  #room(): number {
    return CAPACITY - ((this.#written - Atomics.load(this.#control, HASHED)) | 0);
  }

  #put(id: number, length: number, size: number): void {
    const at = this.#position() / 4;
    this.#words[at] = id;
    this.#words[at + 1] = length;
    this.#written = (this.#written + size) | 0;
    Atomics.store(this.#control, WRITTEN, this.#written);
    ringBell(this.#control, BELL_OF_HASHER);
  }

  #waitUntil(isReady: () => boolean): void {
    for (let stalls = 0; ;) {
      const seen = Atomics.load(this.#control, BELL_OF_WRITER);
      if (isReady()) return;
      const state = Atomics.load(this.#control, STATE);
      if (state === LOST || state === CLOSED || stalls === STALLS) throw ended();
      if (state === TAKEN) {
        this.#own ??= new Hasher(this.#ring);
        if (!this.#own.step()) throw ended();
        continue;
      }
      const most = state === NEW ? START_MS : STALL_MS;
      if (Atomics.wait(this.#control, BELL_OF_WRITER, seen, most) !== "timed-out") continue;
      // Whether its thread starts or not: from now on that one finds that it came too late.
      if (state === NEW) Atomics.compareExchange(this.#control, STATE, NEW, TAKEN);
      else stalls += 1;
    }
  }
}

/** The hashing side: returns when nobody wants to know any more, or at once when the writer did not wait for it. */
export function serveHashRing(ring: HashRing): void {
  const control = controlOf(ring);
  if (Atomics.compareExchange(control, STATE, NEW, SERVED) !== NEW) return;
  ringBell(control, BELL_OF_WRITER);
  try {
    const hasher = new Hasher(ring);
    for (;;) {
      const seen = Atomics.load(control, BELL_OF_HASHER);
      if (Atomics.load(control, STATE) !== SERVED) return;
      if (!hasher.step()) Atomics.wait(control, BELL_OF_HASHER, seen);
    }
  } finally {
    abandonHashRing(ring);
  }
}

/** Takes one record after the other out of a ring. */
class Hasher {
  readonly #ring: HashRing;
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #hashes = new Map<number, Hash>();
  #hashed = 0;

  constructor(ring: HashRing) {
    this.#ring = ring;
    this.#control = controlOf(ring);
    this.#bytes = new Uint8Array(ring, CONTROL_SIZE);
    this.#words = new Uint32Array(ring, CONTROL_SIZE);
  }

  /** False when there is none. */
  step(): boolean {
    if (Atomics.load(this.#control, WRITTEN) === this.#hashed) return false;
    const from = this.#hashed & (CAPACITY - 1);
    const id = this.#words[from / 4] ?? 0;
    const length = this.#words[from / 4 + 1] ?? 0;
    const isEnd = length === DIGEST || length === DROP;
    const hash = this.#hashes.get(id) ?? createHash("sha256");
    if (isEnd) this.#hashes.delete(id);
    else {
      this.#hashes.set(id, hash);
      hash.update(this.#bytes.subarray(from + HEAD, from + HEAD + length));
    }
    if (length === DIGEST) {
      new Uint8Array(this.#ring, DIGEST_AT, DIGEST_SIZE).set(hash.digest());
      Atomics.add(this.#control, ANSWERED, 1);
    }
    this.#hashed = (this.#hashed + HEAD + (isEnd ? 0 : padded(length))) | 0;
    Atomics.store(this.#control, HASHED, this.#hashed);
    ringBell(this.#control, BELL_OF_WRITER);
    return true;
  }
}

function controlOf(ring: HashRing): Int32Array {
  return new Int32Array(ring, 0, ANSWERED + 1);
}

function padded(length: number): number {
  return Math.ceil(length / HEAD) * HEAD;
}

function ringBell(control: Int32Array, bell: number): void {
  Atomics.add(control, bell, 1);
  Atomics.notify(control, bell);
}

function ended(): TsbuildError {
  return new TsbuildError("INTERNAL", "tried to hash beside the work: the thread for it ended");
}
