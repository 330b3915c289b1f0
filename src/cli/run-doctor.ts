import { diagnose, type DoctorOptions } from "../index.js";
import { IN_PLACE_FLAGS } from "./flags-in-place.js";
import type { FlagName } from "./flags.js";
import { inPlace, kanikoDirectory, storeBeside } from "./in-place.js";
import type { ParsedFlags } from "./parse-flags.js";
import { doctorJson, doctorText } from "./render/doctor.js";
import { UsageError } from "./usage-error.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Those that decide what a build may do here; the others would be read for nothing. */
const FLAGS: ReadonlySet<FlagName> = new Set<FlagName>([
  "driver",
  "layer-mounts",
  "store",
  "format",
  "verbosity",
  ...IN_PLACE_FLAGS.map(({ name }) => name).filter((name) => name !== "materialize"),
]);
/** HOST_UNSUPPORTED */
const NO_DRIVER = 69;

/** Prints what a build can do here. @returns the exit code: 69 where no step could run */
export async function runDoctor(
  flags: ParsedFlags,
  environment: Environment,
  out: NodeJS.WritableStream,
  signal: AbortSignal,
): Promise<number> {
  for (const name of [...flags.one.keys(), ...flags.many.keys()]) {
    if (!FLAGS.has(name)) throw new UsageError(`--${name} means nothing to tsbuild doctor`);
  }
  // The choices were checked against the table of flags.
  const driver = flags.one.get("driver") as DoctorOptions["driver"];
  const layerMounts = flags.one.get("layer-mounts") as DoctorOptions["layerMounts"];
  const store =
    flags.one.get("store") ?? storeBeside(kanikoDirectory(flags, environment), environment);
  const found = await diagnose({
    ...(driver === undefined ? {} : { driver }),
    ...(layerMounts === undefined ? {} : { layerMounts }),
    ...(store === undefined ? {} : { store }),
    inPlace: inPlace(flags, environment),
    environment,
    signal,
  });
  out.write(flags.one.get("format") === "json" ? doctorJson(found) : doctorText(found));
  return found.driver === undefined ? NO_DRIVER : 0;
}
