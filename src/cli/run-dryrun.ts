import { plan } from "../index.js";
import { buildOptions } from "./build-options.js";
import type { ParsedFlags } from "./parse-flags.js";
import { planText } from "./render/plan.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Prints what a build would do, and does nothing of it. @returns the exit code: 0 */
export async function runDryrun(
  flags: ParsedFlags,
  environment: Environment,
  out: NodeJS.WritableStream,
  signal: AbortSignal,
): Promise<number> {
  out.write(planText(await plan({ ...buildOptions(flags, environment), signal })));
  return 0;
}
