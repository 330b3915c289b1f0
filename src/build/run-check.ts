import type { Diagnostic } from "../dockerfile/types.js";
import { lint } from "../solver/solve.js";
import type { Emit } from "../solver/types.js";
import { Cleanup } from "./cleanup.js";
import { ContextFetcher } from "./contexts-fetch.js";
import type { BuildOptions } from "./options.js";
import { openBuild, planBuild } from "./prepare.js";
import { openRegistry } from "./registry.js";

/** A build as far as it goes without running anything: bases are looked up, nothing is built or pushed. */
export async function runCheck(
  options: BuildOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<readonly Diagnostic[]> {
  await using cleanup = new Cleanup();
  const fetcher = cleanup.use(new ContextFetcher(options, emit, signal));
  const planned = await planBuild(options, fetcher);
  const registry = cleanup.use(openRegistry(options, emit));
  const opening = { registry, cleanup, emit, signal, whole: signal };
  const { shared } = await openBuild(options, planned, opening);
  const found = await lint({ ...shared, emit }, planned.plans);
  return found.toSorted((a, b) => a.span.start - b.span.start);
}
