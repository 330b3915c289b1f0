import { describePlatform, formatPlatform } from "../oci/platform.js";
import type { Platform } from "../oci/types.js";
import type { Problems } from "./diagnostic.js";
import { expand } from "./expand.js";
import type { Dockerfile, PlanOptions } from "./types.js";

/** The platform arguments that every Dockerfile has without declaring them. Build arguments of these names win. */
export function automaticArgs(
  options: Pick<PlanOptions, "buildArgs" | "buildPlatform" | "targetPlatform">,
  targetStage: string,
): Map<string, string> {
  const describe = (prefix: string, platform: Platform, formatted: string): [string, string][] => [
    [`${prefix}PLATFORM`, formatted],
    [`${prefix}OS`, platform.os],
    [`${prefix}OSVERSION`, platform.osVersion ?? ""],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ""],
  ];
  const { buildPlatform, targetPlatform } = options;
  const args = new Map<string, string>([
    ...describe("BUILD", buildPlatform, formatPlatform(buildPlatform)),
    ...describe("TARGET", targetPlatform, describePlatform(targetPlatform)),
    ["TARGETSTAGE", targetStage],
  ]);
  for (const name of args.keys()) {
    const given = options.buildArgs.get(name);
    if (given !== undefined) args.set(name, given);
  }
  return args;
}

/**
 * The automatic arguments and the ARGs before the first FROM, each default expanded with those before it. A default is not
 * looked at when a build argument takes its place.
 */
export function evaluateGlobals(
  dockerfile: Pick<Dockerfile, "globals" | "escape">,
  automatic: ReadonlyMap<string, string>,
  buildArgs: ReadonlyMap<string, string>,
  problems: Problems,
): Map<string, string> {
  const values = new Map(automatic);
  const scope = { escape: dockerfile.escape, get: (name: string) => values.get(name) };
  for (const { name, value } of dockerfile.globals.flatMap(({ entries }) => entries)) {
    const given = buildArgs.get(name.text);
    const fallback = value === undefined || given !== undefined ? undefined : value;
    const result = given ?? (fallback && problems.attempt(() => expand(fallback, scope))?.value);
    if (result !== undefined) values.set(name.text, result);
  }
  return values;
}
