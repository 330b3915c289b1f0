import { createHashRing, type HashRing, HashRingWriter } from "../internal/hash-ring.js";
import { type HashThread, startHashThread } from "../internal/hash-threads.js";
import { type Hashing, hashOver, hasSpareCores, type Lane } from "../internal/hashing.js";

/** What a job in a root thread hashes with. */
export interface HashingOrder {
  readonly ring: HashRing;
  /** The thread is there: otherwise it has to be asked for, when there turns out to be much. */
  readonly isStarted: boolean;
}

/** A ring for one job, and the thread on its other side: sha256 takes as long as all the rest of unpacking a layer. */
export class HashBeside implements AsyncDisposable {
  readonly #ring: HashRing = createHashRing();
  readonly #file: string;
  #thread: HashThread | undefined;

  /** @param file of the thread: it has to do as `root-thread.ts` does */
  constructor(file: string) {
    this.#file = file;
  }

  /** The caller's thread must never have been inside a root: a thread starts where its maker is. */
  start(): void {
    this.#thread ??= startHashThread(this.#ring, this.#file);
  }

  get order(): HashingOrder {
    return { ring: this.#ring, isStarted: this.#thread !== undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread?.[Symbol.asyncDispose]();
  }
}

/** In the root thread. @param ask for the other side's thread; it need not be there before the ring is full */
export function hashingOver(
  { ring, isStarted }: HashingOrder,
  ask: () => void,
  isSpare: boolean = hasSpareCores(),
): Hashing {
  let opened: Lane | undefined;
  const lane = (): Lane => {
    if (opened !== undefined) return opened;
    opened = { writer: new HashRingWriter(ring), open: 0 };
    if (!isStarted) ask();
    return opened;
  };
  return { sha256: (size) => hashOver({ lane, size: isStarted ? Infinity : size, isSpare }) };
}
