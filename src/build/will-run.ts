import { stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../errors.js";
import type { SolvePlan } from "../solver/solve.js";
import type { Store } from "../store/types.js";
import type { BuildOptions } from "./options.js";

/** What the store keeps records of steps in, once there is one. */
const RECORDS = "records";

/**
 * Whether a command will run whatever is still to be found out, as in a job that begins with nothing: then the worker may
 * start while registries are asked for the bases. Where a cache may have all of it, it must not.
 */
export async function willRun(
  { cache, noCache, registryCache, cacheFrom = [] }: BuildOptions,
  plans: readonly SolvePlan[],
  { root }: Pick<Store, "root">,
): Promise<boolean> {
  if (!plans.some(hasRun)) return false;
  if (cache === false || noCache === true) return true;
  if (registryCache !== undefined || cacheFrom.length > 0) return false;
  return isAbsent(join(root, RECORDS));
}

/** In a stage that the target needs. */
function hasRun({ plan }: SolvePlan): boolean {
  return [...plan.stages.values()].some(({ stage }) =>
    stage.instructions.some(({ kind }) => kind === "RUN"),
  );
}

async function isAbsent(path: string): Promise<boolean> {
  try {
    await stat(path);
    return false;
  } catch (error) {
    return errnoOf(error) === "ENOENT";
  }
}
