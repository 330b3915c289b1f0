import type { ExplainedStep } from "../solver/cache/explained.js";
import { explain } from "../solver/solve.js";
import type { Emit } from "../solver/types.js";
import { Cleanup } from "./cleanup.js";
import { ContextFetcher } from "./contexts-fetch.js";
import type { BuildOptions } from "./options.js";
import { openBuild, planBuild } from "./prepare.js";
import { openRegistry } from "./registry.js";

/** A build as far as the cache alone can answer. */
export async function runExplain(
  options: BuildOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<readonly ExplainedStep[]> {
  await using cleanup = new Cleanup();
  const fetcher = cleanup.use(new ContextFetcher(options, emit, signal));
  const planned = await planBuild(options, fetcher);
  const registry = cleanup.use(openRegistry(options, emit));
  const opening = { registry, cleanup, emit, signal, whole: signal };
  const { shared } = await openBuild(options, planned, opening);
  return await explain({ ...shared, emit }, planned.plans);
}
