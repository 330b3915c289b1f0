import type { BuildOptions } from "../index.js";
import { booleanOf } from "./booleans.js";
import type { FlagName } from "./flags.js";
import type { ParsedFlags } from "./parse-flags.js";

type Environment = Readonly<Record<string, string | undefined>>;
type InPlace = NonNullable<BuildOptions["inPlace"]>;

/** The flags about "/", those that were given. */
export function inPlace(flags: ParsedFlags, environment: Environment): InPlace {
  const given = (name: FlagName): boolean | undefined => {
    const text = flags.one.get(name);
    return text === undefined ? undefined : text === "true";
  };
  const named = (name: string): boolean | undefined => {
    const text = environment[name] ?? "";
    return text === "" ? undefined : booleanOf(text) === true;
  };
  const options: Record<keyof InPlace, unknown> = {
    force: given("force"),
    directory: kanikoDirectory(flags, environment),
    ignorePaths: flags.many.get("ignore-path"),
    ignoreVarRun: given("ignore-var-run"),
    preCleanup: given("pre-cleanup") ?? named("KANIKO_PRE_CLEANUP"),
    cleanup: given("cleanup") ?? named("KANIKO_CLEANUP"),
    preserveContext: given("preserve-context") ?? named("KANIKO_PRESERVE_CONTEXT"),
  };
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as InPlace;
}

export function kanikoDirectory(flags: ParsedFlags, environment: Environment): string | undefined {
  return flags.one.get("kaniko-dir") || environment["KANIKO_DIR"] || undefined;
}

/** Kaniko's own, which is also a variable of its image: a usual place for the store, but not one that was asked for. */
const USUAL = "/kaniko";

/** The build's work is where it was asked for, unless the store has a place of its own. */
export function storeBeside(
  directory: string | undefined,
  environment: Environment,
): string | undefined {
  const isNamed = (environment["TSBUILD_STORE"] ?? "") !== "";
  return directory === undefined || isNamed || directory.replace(/\/+$/, "") === USUAL
    ? undefined
    : `${directory}/store`;
}
