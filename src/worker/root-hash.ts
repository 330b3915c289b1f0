import { createHash } from "node:crypto";
import { Worker } from "node:worker_threads";
import { TsbuildError } from "../errors.js";
import type { ContentHash } from "../internal/hashing.js";

/** Bytes between the two threads: a few inflated chunks. A power of two, so that counts may wrap. */
const CAPACITY = 1 << 20;
/** Bytes hashed before the room they took is given back. */
const PIECE = 1 << 18;
/** MiB. It holds next to nothing. */
const HEAP = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 };

/** Words in front of the bytes. The counts are of bytes since the start and wrap at 2^32. */
const WRITTEN = 0;
const HASHED = 1;
const STATE = 2;
/** Each side waits on its own word, which the other one changes after everything it does. */
const BELL_OF_HASHER = 3;
const BELL_OF_WRITER = 4;
const CONTROL_SIZE = 64;
const DIGEST_AT = 32;

const RUNNING = 0;
const ENDED = 1;
const DONE = 2;
const LOST = 3;

/** Shared by a thread that unpacks and one that hashes what the first one reads. */
export type HashRing = SharedArrayBuffer;

/** What the hashing thread is started with: it tells that thread from one that goes into roots. */
export interface HashOrder {
  readonly hashRing: HashRing;
}

/** A thread that hashes beside another: sha256 takes as long as all the rest of unpacking a layer. */
export interface HashThread extends AsyncDisposable {
  readonly ring: HashRing;
}

/** The caller's thread must never have been inside a root: a thread starts where its maker is. */
export function startHashThread(file: string): HashThread {
  const ring = new SharedArrayBuffer(CONTROL_SIZE + CAPACITY);
  const thread = new Worker(file, {
    execArgv: [],
    workerData: { hashRing: ring } satisfies HashOrder,
    resourceLimits: HEAP,
  });
  thread.unref();
  const control = new Int32Array(ring, 0, 5);
  const abandon = (): void => {
    Atomics.compareExchange(control, STATE, RUNNING, LOST);
    Atomics.compareExchange(control, STATE, ENDED, LOST);
    ringBell(control, BELL_OF_HASHER);
    ringBell(control, BELL_OF_WRITER);
  };
  // The writer learns that it waits in vain and fails; there is nobody else to tell.
  thread.on("error", abandon).on("exit", abandon);
  return {
    ring,
    async [Symbol.asyncDispose]() {
      abandon();
      await thread.terminate();
    },
  };
}

/** The writing side. Blocks while the hashing one is a whole ring behind. @throws TsbuildError INTERNAL when that thread is gone */
export function hashInto(ring: HashRing): ContentHash {
  const control = new Int32Array(ring, 0, 5);
  const bytes = new Uint8Array(ring, CONTROL_SIZE);
  let written = 0;
  const waitWhile = (isEarly: () => boolean): void => {
    for (;;) {
      const seen = Atomics.load(control, BELL_OF_WRITER);
      if (!isEarly()) return;
      if (Atomics.load(control, STATE) === LOST)
        throw new TsbuildError("INTERNAL", "tried to hash a layer: the thread for it ended");
      Atomics.wait(control, BELL_OF_WRITER, seen);
    }
  };
  const room = (): number => CAPACITY - ((written - Atomics.load(control, HASHED)) | 0);
  return {
    update(chunk) {
      for (let at = 0; at < chunk.length;) {
        waitWhile(() => room() === 0);
        const to = written & (CAPACITY - 1);
        const count = Math.min(room(), chunk.length - at, CAPACITY - to);
        bytes.set(chunk.subarray(at, at + count), to);
        at += count;
        written = (written + count) | 0;
        Atomics.store(control, WRITTEN, written);
        ringBell(control, BELL_OF_HASHER);
      }
    },
    digest() {
      Atomics.compareExchange(control, STATE, RUNNING, ENDED);
      ringBell(control, BELL_OF_HASHER);
      waitWhile(() => Atomics.load(control, STATE) !== DONE);
      return Buffer.from(new Uint8Array(ring, DIGEST_AT, 32)).toString("hex");
    },
  };
}

/** The hashing side: returns when all is hashed or nobody wants to know any more. */
export function serveHash(ring: HashRing): void {
  const control = new Int32Array(ring, 0, 5);
  const bytes = new Uint8Array(ring, CONTROL_SIZE);
  const hash = createHash("sha256");
  for (let hashed = 0; ;) {
    const seen = Atomics.load(control, BELL_OF_HASHER);
    // Before the count: what was written before the end counts.
    const state = Atomics.load(control, STATE);
    const ready = (Atomics.load(control, WRITTEN) - hashed) | 0;
    if (state === LOST) return;
    if (ready > 0) {
      const from = hashed & (CAPACITY - 1);
      const count = Math.min(ready, PIECE, CAPACITY - from);
      hash.update(bytes.subarray(from, from + count));
      hashed = (hashed + count) | 0;
      Atomics.store(control, HASHED, hashed);
      ringBell(control, BELL_OF_WRITER);
    } else if (state === ENDED) {
      new Uint8Array(ring, DIGEST_AT, 32).set(hash.digest());
      Atomics.store(control, STATE, DONE);
      ringBell(control, BELL_OF_WRITER);
      return;
    } else Atomics.wait(control, BELL_OF_HASHER, seen);
  }
}

function ringBell(control: Int32Array, bell: number): void {
  Atomics.add(control, bell, 1);
  Atomics.notify(control, bell);
}
