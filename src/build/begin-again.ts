import type { Emit } from "../solver/types.js";
import type { LayerFault, LayerFaults } from "../solver/layer-faults.js";

export interface AgainInput {
  readonly faults: LayerFaults;
  readonly emit: Emit;
  readonly signal: AbortSignal;
  /** Waits for what goes on beside the work, whatever became of it. */
  readonly settled: () => Promise<void>;
}

/**
 * Does the work, and again when it ended for a layer that a cache or the store gave by word alone: its step is then one that
 * the cache does not have, and all that was done before is found. Each layer has that once.
 */
export async function withGoodLayers<T>(
  work: () => Promise<T>,
  { faults, emit, signal, settled }: AgainInput,
): Promise<T> {
  try {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (signal.aborted) throw error;
        const found = faults.admit(error);
        if (found.length === 0) throw error;
        for (const fault of found) emit({ type: "notice", message: messageFor(fault) });
      }
    }
  } finally {
    await settled();
  }
}

function messageFor({ digest, where, reason }: LayerFault): string {
  return `layer ${digest} of ${where} cannot be read, and is made or fetched anew: ${reason}`;
}

/** What the beginning of a build says is said once, however often it begins. */
export function saidOnce(emit: Emit): { readonly emit: Emit; readonly begin: () => void } {
  const announced = new Set<string>();
  const warned = new Set<string>();
  let times = 0;
  const once: Emit = (event) => {
    if (event.type === "plan") {
      const steps = event.steps.filter(({ id }) => !announced.has(id));
      for (const { id } of steps) announced.add(id);
      if (steps.length > 0) emit({ ...event, steps });
      return;
    }
    if (event.type === "warning") {
      const { code, message, span } = event.diagnostic;
      const key = JSON.stringify([code, message, span.file.path, span.start]);
      if (times > 1 && warned.has(key)) return;
      warned.add(key);
    }
    emit(event);
  };
  const begin = (): void => {
    times++;
  };
  return { emit: once, begin };
}
