import type { BuildOptions } from "../index.js";
import { booleanOf } from "./booleans.js";
import { cacheOptions } from "./cache.js";
import { secrets, sshAgents } from "./secrets.js";
import { imageAttributes } from "./output-image.js";
import { outputs } from "./outputs.js";
import type { FlagName } from "./flags.js";
import { gitContext } from "./git-context.js";
import { inPlace, kanikoDirectory, storeBeside } from "./in-place.js";
import type { ParsedFlags } from "./parse-flags.js";
import { registryOptions } from "./registry-options.js";
import { shmSize, ulimit } from "./step-options.js";
import { UsageError } from "./usage-error.js";

type Environment = Readonly<Record<string, string | undefined>>;
/** Kaniko's default. */
const DEFAULT_CONTEXT = "/workspace/";

/** The library's options from flags and environment. @throws UsageError */
export function buildOptions(flags: ParsedFlags, environment: Environment): BuildOptions {
  const text = (name: FlagName): string | undefined => flags.one.get(name);
  const list = (name: FlagName): readonly string[] => flags.many.get(name) ?? [];
  const flag = (name: FlagName): boolean => text(name) === "true";
  const options: Record<keyof BuildOptions, unknown> = {
    context: text("context") ?? DEFAULT_CONTEXT,
    git: gitContext(list("git")),
    contextSubPath: text("context-sub-path"),
    stdin: stdinFor(text("context")),
    dockerfile: text("dockerfile"),
    target: text("target"),
    buildArgs: buildArgs(list("build-arg"), environment),
    labels: pairs(list("label"), "label"),
    platform: text("custom-platform"),
    secrets: secrets(list("secret"), environment),
    sshAgents: sshAgents(list("ssh"), environment),
    allow: optional(list("allow")),
    cdiSpecDirectories: optional(list("cdi-spec-dir")),
    network: text("network"),
    addHosts: optional(list("add-host")),
    hostname: text("hostname"),
    shmSize: shmSize(text("shm-size")),
    ulimits: optional(list("ulimit").map(ulimit)),
    buildContexts: pairs(list("build-context"), "build-context"),
    destinations: list("destination"),
    push: !noPush(flags, environment),
    tarPath: text("tar-path"),
    ociLayoutPath: text("oci-layout-path"),
    outputs: outputs(list("output")),
    ...imageAttributes(list("output"), imageFlags(flags)),
    digestFile: text("digest-file"),
    iidFile: text("iidfile"),
    metadataFile: text("metadata-file"),
    imageNameWithDigestFile: text("image-name-with-digest-file"),
    imageNameTagWithDigestFile: text("image-name-tag-with-digest-file"),
    reproducible: flag("reproducible"),
    store: text("store") ?? storeBeside(kanikoDirectory(flags, environment), environment),
    ...cacheOptions(flags),
    keepStorage: text("keep-storage"),
    driver: text("driver"),
    layerMounts: text("layer-mounts"),
    strict: flag("strict"),
    inPlace: inPlace(flags, environment),
    materialize: text("materialize") === "true" ? true : undefined,
    singleSnapshot: text("single-snapshot") === "true" ? true : undefined,
    ...registryOptions(flags, environment),
    keychain: undefined,
    environment,
    signal: undefined,
  };
  // Choices were checked against the table; an option that was not given is left out.
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as unknown as BuildOptions;
}

/** What the flags alone say of the image. */
function imageFlags({ one, many }: ParsedFlags): Parameters<typeof imageAttributes>[1] {
  // Choices were checked against the table.
  const given = {
    compression: one.get("compression"),
    compressionLevel: level(one.get("compression-level")),
    imageFormat: one.get("image-format"),
    annotations: pairs(many.get("annotation") ?? [], "annotation"),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** What is read only for a context that says so: the build's input is its caller's otherwise. */
function stdinFor(context: string | undefined): NodeJS.ReadStream | undefined {
  if (context !== "-" && context !== "tar://stdin") return undefined;
  if (!process.stdin.isTTY) return process.stdin;
  throw new UsageError(
    "the context on stdin would be read from the terminal",
    "pipe a tar: < FILE",
  );
}

/** A name alone takes the environment's value, and is left out when there is none: Docker's rule. */
function buildArgs(given: readonly string[], environment: Environment): Record<string, string> {
  const args: Record<string, string> = {};
  for (const one of given) {
    const equals = one.indexOf("=");
    const name = equals < 0 ? one : one.slice(0, equals);
    if (name === "") usage(`--build-arg "${one}" has no name`);
    const value = equals < 0 ? environment[name] : one.slice(equals + 1);
    if (value !== undefined) args[name] = value;
  }
  return args;
}

function pairs(given: readonly string[], flag: string): Record<string, string> {
  return Object.fromEntries(
    given.map((one) => {
      const equals = one.indexOf("=");
      if (equals <= 0) usage(`--${flag} "${one}" is not name=value`);
      return [one.slice(0, equals), one.slice(equals + 1)];
    }),
  );
}

/** The environment wins over the flag, as in Kaniko. */
function noPush(flags: ParsedFlags, environment: Environment): boolean {
  const named = environment["KANIKO_NO_PUSH"];
  if (named === undefined || named === "") return flags.one.get("no-push") === "true";
  return booleanOf(named) === true;
}

function level(text: string | undefined): number | undefined {
  // Kaniko's -1 means "the default".
  return text === undefined || text === "-1" ? undefined : Number(text);
}

function optional<T>(given: readonly T[]): readonly T[] | undefined {
  return given.length === 0 ? undefined : given;
}

function usage(message: string): never {
  throw new UsageError(message);
}
