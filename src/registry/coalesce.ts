import { TsbuildError } from "../errors.js";

/**
 * Work that several callers need at once is done once; a failure is not kept. A caller whose own signal is fine does
 * not fail because the one that started the work went away: it starts the work again.
 */
export async function coalesce<T>(
  running: Map<string, Promise<T>>,
  key: string,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    const known = running.get(key);
    if (known === undefined) {
      const made = work();
      running.set(key, made);
      made.catch(() => {
        if (running.get(key) === made) running.delete(key);
      });
      return made;
    }
    try {
      return await known;
    } catch (error) {
      if (signal.aborted || !isAbort(error)) throw error;
      if (running.get(key) === known) running.delete(key);
    }
  }
}

function isAbort(error: unknown): boolean {
  if (error instanceof TsbuildError) return error.code === "ABORTED";
  return error instanceof Error && error.name === "AbortError";
}
