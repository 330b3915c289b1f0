import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import type { HashRingWriter } from "./hash-ring.js";

/** Bytes. Less is hashed in place: a thread takes as much processor time to start as hashing some 30 MiB. */
export const WORTH_A_THREAD: number = 16 << 20;
/** Bytes of what has no known size that are held in memory, until they turn out to be more. */
export const HELD: number = 4 << 20;
/** Two processors are often one core's, on which a thread that hashes takes away what it saves. */
const SPARE = 4;

/** Whether what may be little after all is worth a thread. */
export function hasSpareCores(): boolean {
  return availableParallelism() >= SPARE;
}

/** A sha256 that may be taken elsewhere: in another thread, say. */
export interface ContentHash {
  /** The bytes are only valid during the call. */
  update(chunk: Uint8Array): void;
  /** In hex; once, at the end. @throws TsbuildError INTERNAL when the thread that hashed is gone, as `update` does */
  digest(): string;
}

/** The same for whoever may give up before the end. Disposing it after its end is fine. */
export type OpenHash = ContentHash & Disposable;

/** Where hashes of much are taken. */
export interface Hashing {
  /** @param size bytes that will come, where that is known */
  sha256(size?: number): OpenHash;
}

/** In the thread that asks. */
export const HASHING_IN_PLACE: Hashing = { sha256: () => hashInPlace() };

export function hashInPlace(): OpenHash {
  const hash = createHash("sha256");
  return {
    update: (chunk) => void hash.update(chunk),
    digest: () => hash.digest("hex"),
    [Symbol.dispose]: () => undefined,
  };
}

/** A ring and what is going on over it. */
export interface Lane {
  readonly writer: HashRingWriter;
  /** Hashes that have begun and not ended. */
  open: number;
}

/** What is hashed over a lane, and not in place. */
export interface HashOver {
  /** Asked once, when a thread is worth it. */
  readonly lane: () => Lane;
  /** Bytes that will come, where that is known. */
  readonly size?: number | undefined;
  /** What has no known size goes over the lane too, once it is more than {@link HELD}. */
  readonly isSpare: boolean;
}

/** In place while it may still be little, over a lane from then on. */
export function hashOver({ lane, size, isSpare }: HashOver): OpenHash {
  const isLittle = size === undefined ? !isSpare : size < WORTH_A_THREAD;
  return isLittle ? hashInPlace() : new LaneHash(lane, size);
}

class LaneHash implements OpenHash {
  readonly #choose: () => Lane;
  /** Copies of what has come, while nobody hashes it: what has been hashed in one thread cannot go on in another. */
  #held: Buffer[] = [];
  #left: number;
  #lane: Lane | undefined;
  #id = 0;

  constructor(choose: () => Lane, size: number | undefined) {
    this.#choose = choose;
    this.#left = size === undefined ? HELD : 0;
  }

  update(chunk: Uint8Array): void {
    if (this.#lane === undefined && chunk.length < this.#left) {
      this.#left -= chunk.length;
      this.#held.push(Buffer.from(chunk));
      return;
    }
    const { writer } = this.#lane ?? this.#begin();
    writer.update(this.#id, chunk);
  }

  digest(): string {
    const lane = this.#lane;
    if (lane !== undefined) {
      this.#end(lane);
      return lane.writer.digest(this.#id);
    }
    const hash = hashInPlace();
    for (const chunk of this.#held) hash.update(chunk);
    this.#held = [];
    return hash.digest();
  }

  [Symbol.dispose](): void {
    this.#held = [];
    const lane = this.#lane;
    if (lane === undefined) return;
    this.#end(lane);
    lane.writer.drop(this.#id);
  }

  #begin(): Lane {
    const lane = this.#choose();
    this.#lane = lane;
    lane.open += 1;
    this.#id = lane.writer.begin();
    for (const chunk of this.#held) lane.writer.update(this.#id, chunk);
    this.#held = [];
    return lane;
  }

  #end(lane: Lane): void {
    this.#lane = undefined;
    lane.open -= 1;
  }
}
