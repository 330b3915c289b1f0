import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { entryPath } from "./entry.js";
import {
  abandonHashRing,
  closeHashRing,
  createHashRing,
  type HashRing,
  HashRingWriter,
} from "./hash-ring.js";
import { type Hashing, hashOver, hasSpareCores, type Lane, type OpenHash } from "./hashing.js";

/** A layer being packed has three hashes: of what is read, of the tar, and of what is compressed. */
const MOST_THREADS = 2;
/** MiB. It holds next to nothing. */
const HEAP = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 };

/** What the thread is started with. */
export interface HashOrder {
  readonly hashRing: HashRing;
}

/** A thread that hashes what comes over a ring. */
export type HashThread = AsyncDisposable;

/**
 * Starts one; the process does not wait for it. Where none can be had, the ring's writer does the work itself. The
 * caller's thread must never have been inside a root: a thread starts where its maker is.
 */
export function startHashThread(hashRing: HashRing, file?: string): HashThread {
  const abandon = (): void => abandonHashRing(hashRing);
  let thread: Worker;
  try {
    thread = new Worker(file ?? entryPath("internal/hash-thread.cjs"), {
      execArgv: [],
      workerData: { hashRing } satisfies HashOrder,
      resourceLimits: HEAP,
    });
  } catch {
    abandon();
    return { [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  thread.unref();
  // The writer learns that it waits in vain; there is nobody else to tell.
  thread.on("error", abandon).on("exit", abandon);
  return {
    async [Symbol.asyncDispose]() {
      closeHashRing(hashRing);
      await thread.terminate();
    },
  };
}

export interface HashThreadsOptions {
  /** Threads at once. Absent: as many as there are processors besides this one's, and no more than help. */
  readonly most?: number;
  /** The thread's own file. */
  readonly file?: string;
  /** Absent: as this machine is. */
  readonly isSpare?: boolean;
}

/** Hashing in threads of their own, which start when there is much to hash and end with this. */
export class HashThreads implements Hashing, AsyncDisposable {
  readonly #most: number;
  readonly #file: string | undefined;
  readonly #isSpare: boolean;
  readonly #lanes: Lane[] = [];
  readonly #threads: HashThread[] = [];

  constructor(options: HashThreadsOptions = {}) {
    this.#most = options.most ?? Math.min(MOST_THREADS, availableParallelism() - 1);
    this.#file = options.file;
    this.#isSpare = options.isSpare ?? hasSpareCores();
  }

  sha256(size?: number): OpenHash {
    const lane = (): Lane => this.#lane();
    return hashOver({ lane, size: this.#most === 0 ? 0 : size, isSpare: this.#isSpare });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread[Symbol.asyncDispose]()));
  }

  /** The one with the least to do; another thread's while all are busy. */
  #lane(): Lane {
    const [idlest] = this.#lanes.toSorted((a, b) => a.open - b.open);
    if (idlest !== undefined && (idlest.open === 0 || this.#lanes.length >= this.#most))
      return idlest;
    const ring = createHashRing();
    const lane = { writer: new HashRingWriter(ring), open: 0 };
    this.#lanes.push(lane);
    this.#threads.push(startHashThread(ring, this.#file));
    return lane;
  }
}
