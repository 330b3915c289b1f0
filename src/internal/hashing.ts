import { createHash } from "node:crypto";
import type { HashRingWriter } from "./hash-ring.js";

/**
 * Bytes. Less is hashed in place: a thread takes as much processor time to start as hashing some 30 MiB. Of what has no
 * known size as much is held in memory until it turns out to be more.
 */
export const WORTH_A_THREAD: number = 16 << 20;

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

/** In place while it may still be little, over a lane from then on. @param lane asked once, when a thread is worth it */
export function hashOver(lane: () => Lane, size?: number): OpenHash {
  return size !== undefined && size < WORTH_A_THREAD ? hashInPlace() : new LaneHash(lane, size);
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
    this.#left = size === undefined ? WORTH_A_THREAD : 0;
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
