import { explain } from "../index.js";
import { buildOptions } from "./build-options.js";
import type { ParsedFlags } from "./parse-flags.js";
import { explainJson, explainText } from "./render/explain.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Prints what a build would take from the cache. @returns the exit code: 0, also when steps would be made anew */
export async function runExplain(
  flags: ParsedFlags,
  environment: Environment,
  out: NodeJS.WritableStream,
  signal: AbortSignal,
): Promise<number> {
  const steps = await explain({ ...buildOptions(flags, environment), signal });
  out.write(flags.one.get("format") === "json" ? explainJson(steps) : explainText(steps));
  return 0;
}
