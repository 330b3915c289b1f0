import type { CacheStep, StepCache } from "./step-cache.js";
import type { Chain } from "./types.js";

/** A step that makes a layer. */
export interface AskedStep {
  /** The step where the stage stands at `chain`, as far as its inputs are known. */
  readonly at: (chain: Chain) => Promise<CacheStep | undefined>;
}

/**
 * Asks for the records of a stage's steps, one after the other and without waiting for any: their keys do not depend on what
 * is found. Ends where a key cannot be known, and when somebody has found a step that is missing.
 */
export async function askAhead(
  steps: readonly AskedStep[],
  first: Chain | undefined,
  cache: StepCache,
  over: AbortSignal,
): Promise<void> {
  try {
    let chain = first;
    for (const { at } of steps) {
      const step = chain && (await at(chain));
      const key = step && !over.aborted ? await cache.ask(step) : undefined;
      if (step === undefined || key === undefined) return;
      chain = { ...step.chain, key };
    }
  } catch {
    // Who waits for that record hears of it.
  }
}
