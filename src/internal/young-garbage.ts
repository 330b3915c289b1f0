import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Bytes of buffers after which those that nobody holds any more are given back. V8 by itself waits for 32 MiB of them in
 * each thread, since it counts the small objects that stand for them. A collection of young objects takes less
 * than a millisecond, as long as it takes to inflate 100 KiB.
 */
const WORTH_COLLECTING = 4 * 1024 * 1024;
/**
 * Bytes of buffers above those that are in use, after which everything is collected. A buffer that is still held when
 * young objects are collected twice counts as old, and where each entry of an archive leaves small objects that is
 * soon: V8 waits for 64 MiB of those. A whole collection takes as long as it takes to inflate some mebibytes.
 */
const WORTH_ALL = 10 * 1024 * 1024;

/** What V8 has to do with it, in this thread. */
export interface Collector {
  young(): void;
  all(): void;
  /** Bytes of buffers, dead ones included, and of the little else that V8 knows of outside of its heap. */
  buffers(): number;
}

/** Runs V8's collector: of everything, where nothing else is said. */
type Collect = (options?: { readonly type: "minor" }) => unknown;

/** For code through which buffers flow that it does not own, and so cannot use again: keeps the dead ones from piling up. */
export interface YoungGarbage {
  /** So many bytes were allocated, and will soon be of no use. */
  count(bytes: number): void;
}

/** @param collector For tests; absent: V8's own, of this thread. */
export function watchGarbage(collector: Collector = ownCollector()): YoungGarbage {
  let seen = 0;
  let most = WORTH_ALL;
  /** Everything was collected the last time: buffers are given back in another thread, and are only gone by now. */
  let isNew = false;
  return {
    count(bytes) {
      seen += bytes;
      if (seen < WORTH_COLLECTING) return;
      seen = 0;
      collector.young();
      const buffers = collector.buffers();
      if (isNew) most = buffers + WORTH_ALL;
      isNew = buffers > most;
      if (isNew) collector.all();
    },
  };
}

/** Found when first needed: a small layer never is. */
function ownCollector(): Collector {
  let found: Collect | undefined;
  const collect = (): Collect => (found ??= exposed());
  return {
    young: () => void collect()({ type: "minor" }),
    all: () => void collect()(),
    // What else tells of buffers reads /proc first, which a thread inside a root does not have.
    buffers: () => getHeapStatistics().external_memory,
  };
}

/**
 * New contexts have what V8 exposes; the ones that are there do not change. The flag stays set: other threads may be
 * about to do the same. Without it nothing is collected early.
 */
function exposed(): Collect {
  setFlagsFromString("--expose-gc");
  const gc: unknown = runInNewContext("globalThis.gc");
  return isCollect(gc) ? gc : () => undefined;
}

function isCollect(value: unknown): value is Collect {
  return typeof value === "function";
}
