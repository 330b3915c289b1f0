import { setMaxListeners } from "node:events";
import { TsbuildError } from "../errors.js";

/** A bound on how many things happen at once. */
export interface Semaphore {
  /**
   * Waits for a permit, first come first served; disposing it gives it back (once, however often it is disposed).
   * Rejects with the signal's reason when that fires first; no permit is lost then.
   */
  acquire(signal: AbortSignal): Promise<Disposable>;
}

/** @throws TsbuildError INTERNAL when `permits` is not a whole number of at least 1. */
export function createSemaphore(permits: number): Semaphore {
  if (!Number.isInteger(permits) || permits < 1) {
    throw new TsbuildError("INTERNAL", `tried to make a semaphore of ${permits} permits`);
  }
  let free = permits;
  const waiting = new Set<() => void>();

  const permit = (): Disposable => {
    let held = true;
    return {
      [Symbol.dispose]() {
        if (!held) return;
        held = false;
        const [next] = waiting;
        if (next === undefined) free += 1;
        else next();
      },
    };
  };

  return {
    acquire(signal) {
      return new Promise((resolve, reject) => {
        signal.throwIfAborted();
        if (free > 0) {
          free -= 1;
          resolve(permit());
          return;
        }
        const granted = (): void => {
          waiting.delete(granted);
          signal.removeEventListener("abort", aborted);
          resolve(permit());
        };
        const aborted = (): void => {
          waiting.delete(granted);
          reject(signal.reason as Error);
        };
        waiting.add(granted);
        // Any number may wait on one build's signal; Node would take more than ten for a leak.
        setMaxListeners(0, signal);
        signal.addEventListener("abort", aborted, { once: true });
      });
    },
  };
}
