import { check, DockerfileError, locate, type Diagnostic } from "../index.js";
import { buildOptions } from "./build-options.js";
import type { ParsedFlags } from "./parse-flags.js";
import { checkJson, checkText } from "./render/check.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Prints what the rules say. @returns the exit code: 1 when they say anything. @throws DockerfileError */
export async function runCheck(
  flags: ParsedFlags,
  environment: Environment,
  out: NodeJS.WritableStream,
  signal: AbortSignal,
): Promise<number> {
  const json = flags.one.get("format") === "json";
  let found: readonly Diagnostic[];
  try {
    found = await check({ ...buildOptions(flags, environment), signal });
  } catch (error) {
    // The message itself goes to standard error, as every other does.
    if (json && error instanceof DockerfileError) {
      out.write(checkJson([], locate, error.diagnostics));
    }
    throw error;
  }
  out.write(json ? checkJson(found, locate) : checkText(found, locate));
  return found.length === 0 ? 0 : 1;
}
