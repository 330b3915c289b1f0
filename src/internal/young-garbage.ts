import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Bytes of buffers after which those that nobody holds any more are given back. V8 by itself waits for 32 MiB of them in
 * each thread, since it counts the small objects that stand for them. A collection of young objects takes less
 * than a millisecond, as long as it takes to inflate 100 KiB.
 */
const WORTH_COLLECTING = 4 * 1024 * 1024;

/** Runs V8's collector. */
type Collect = (options: { readonly type: "minor" }) => unknown;

/** For code through which buffers flow that it does not own, and so cannot use again: keeps the dead ones from piling up. */
export interface YoungGarbage {
  /** So many bytes were allocated, and will soon be of no use. */
  count(bytes: number): void;
}

/** @param collect For tests; absent: V8's own, of this thread. */
export function watchGarbage(collect: () => void = collectYoung()): YoungGarbage {
  let seen = 0;
  return {
    count(bytes) {
      seen += bytes;
      if (seen < WORTH_COLLECTING) return;
      seen = 0;
      collect();
    },
  };
}

/** Found when first needed: a small layer never is. */
function collectYoung(): () => void {
  let found: Collect | undefined;
  return () => {
    found ??= exposed();
    found({ type: "minor" });
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
