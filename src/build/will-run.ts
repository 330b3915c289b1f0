import type { SolvePlan } from "../solver/solve.js";
import type { Records } from "../store/types.js";
import type { BuildOptions } from "./options.js";

/**
 * Whether a command will run whatever is still to be found out, as in a job that begins with nothing: then the worker may
 * start while registries are asked for the bases. Where a cache may have all of it, it must not.
 */
export async function willRun(
  { cache, noCache, registryCache, cacheFrom = [] }: BuildOptions,
  plans: readonly SolvePlan[],
  { records }: { readonly records: Pick<Records, "isEmpty"> },
): Promise<boolean> {
  if (!plans.some(hasRun)) return false;
  if (cache === false || noCache === true) return true;
  if (registryCache !== undefined || cacheFrom.length > 0) return false;
  return records.isEmpty();
}

/** In a stage that the target needs. */
function hasRun({ plan }: SolvePlan): boolean {
  return [...plan.stages.values()].some(({ stage }) =>
    stage.instructions.some(({ kind }) => kind === "RUN"),
  );
}
