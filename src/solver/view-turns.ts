import { createSemaphore, type Semaphore } from "../internal/semaphore.js";
import type { Worker } from "../worker/types.js";

/**
 * Who may have a root filesystem, where not every stage can have one at once. A stage keeps its turn to its end, and
 * gives it up early only where it waits for another stage: so two never wait for each other.
 */
export interface ViewTurns {
  /** Waits for a turn; disposing it ends it. `undefined`: there is room for every stage. */
  take(
    worker: Pick<Worker, "maxViews">,
    signal: AbortSignal,
    before: () => Promise<void>,
  ): Promise<Disposable | undefined>;
}

/** @param stages how many there are, those of all platforms */
export function createViewTurns(stages: number): ViewTurns {
  let permits: Semaphore | undefined;
  return {
    take: async ({ maxViews }, signal, before) => {
      if (maxViews >= stages) return undefined;
      await before();
      permits ??= createSemaphore(maxViews);
      return permits.acquire(signal);
    },
  };
}

/** Whether a promise has its outcome already. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const outcome = promise.then(
    () => true,
    () => true,
  );
  const turn = new Promise<boolean>((resolve) => setImmediate(() => resolve(false)));
  return Promise.race([outcome, turn]);
}
