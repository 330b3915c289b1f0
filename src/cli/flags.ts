import { BUILD_FLAGS } from "./flags-build.js";
import { CACHE_FLAGS } from "./flags-cache.js";
import { DRIVER_FLAGS } from "./flags-drivers.js";
import { IN_PLACE_FLAGS } from "./flags-in-place.js";
import { OUTPUT_FLAGS } from "./flags-output.js";
import { REGISTRY_FLAGS } from "./flags-registry.js";
import { STORE_FLAGS } from "./flags-store.js";

/**
 * Every flag of Kaniko's executor and our own, as data: parsing, the help text and the refusals all read this table.
 */
export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  /** `list` may be repeated; `pairs` is a list of `name=value`; `flag` needs no value. */
  readonly type: "string" | "number" | "list" | "pairs" | "flag";
  /** Other spellings that Kaniko accepts. */
  readonly aliases?: readonly string[];
  readonly choices?: readonly string[];
  /** What the value is called in the help. */
  readonly value?: string;
  readonly help: string;
  readonly group:
    "Build" | "Output" | "Cache" | "Registry" | "Environment" | "Store" | "Container" | "Messages";
}

export const FLAGS = [
  ...BUILD_FLAGS,
  ...OUTPUT_FLAGS,
  ...CACHE_FLAGS,
  ...REGISTRY_FLAGS,
  ...STORE_FLAGS,
  ...DRIVER_FLAGS,
  ...IN_PLACE_FLAGS,
  {
    name: "verbosity",
    short: "v",
    type: "string",
    choices: ["trace", "debug", "info", "warn", "error", "fatal", "panic"],
    group: "Messages",
    help: "how much is said (default info)",
  },
  {
    name: "log-format",
    type: "string",
    choices: ["text", "color", "json"],
    group: "Messages",
    help: "default color on a terminal, else text",
  },
  {
    name: "log-timestamp",
    type: "flag",
    group: "Messages",
    help: "each line of a log begins with the time (JSON has it anyway)",
  },
  {
    name: "format",
    type: "string",
    choices: ["text", "json"],
    group: "Messages",
    help: "how tsbuild check, doctor, explain, du, prune and store check print what they found (default text)",
  },
  { name: "help", short: "h", type: "flag", group: "Messages", help: "prints this" },
  { name: "version", type: "flag", group: "Messages", help: "prints the version" },
] as const satisfies readonly FlagSpec[];

export type FlagName = (typeof FLAGS)[number]["name"];

/** Kaniko's flags that change nothing here, with why: said once, at info level. */
export const WITHOUT_MEANING: ReadonlyMap<string, string> = new Map([
  ["snapshot-mode", "changes are found exactly in every mode"],
  ["snapshotMode", "changes are found exactly in every mode"],
  ["use-new-run", "changes are found exactly in every mode"],
  ["compressed-caching", "layers are never kept in memory"],
  ["skip-unused-stages", "stages that the target does not need are never built"],
  ["force-build-metadata", "metadata is always in the image"],
]);

/** Kaniko's flags that take no value in {@link WITHOUT_MEANING}. */
export const MEANINGLESS_SWITCHES: ReadonlySet<string> = new Set([
  "use-new-run",
  "compressed-caching",
  "skip-unused-stages",
  "force-build-metadata",
]);

const FETCH_ITSELF =
  "download the archive in a step before and give --context=tar://FILE, or give its address: --context=https://storage.googleapis.com/BUCKET/OBJECT, signed where the bucket is private";
const LIMIT_ITSELF =
  "a step shares its limits with tsbuild: run it as systemd-run --user --scope -p MemoryMax=2G -p CPUQuota=50% tsbuild …, or give its container or Pod the limit";

/** Flags of docker build and buildctl that need a daemon with control groups of its own, and one of Kaniko's, with what to do instead. */
export const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ["bucket", FETCH_ITSELF],
  ...[
    "cgroup-parent",
    "cpu-period",
    "cpu-quota",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "memory",
    "memory-swap",
  ].map((name) => [name, LIMIT_ITSELF] as const),
]);
