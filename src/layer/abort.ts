import { setImmediate } from "node:timers/promises";
import { TsbuildError } from "../errors.js";

/** @throws TsbuildError ABORTED, or the signal's own reason when it is one of ours. */
export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  if (signal.reason instanceof TsbuildError) throw signal.reason;
  throw new TsbuildError("ABORTED", "tried to go on: the build was cancelled", {
    cause: signal.reason,
  });
}

/** Lets the event loop see timers, messages and signals between pieces of synchronous work. */
export async function turn(signal: AbortSignal): Promise<void> {
  await setImmediate();
  throwIfAborted(signal);
}
