import type { CacheSource, CacheTarget, RegistryCache } from "../index.js";
import { readFields, readSwitch, type Fields } from "./output-fields.js";
import type { ParsedFlags } from "./parse-flags.js";
import { UsageError } from "./usage-error.js";

const NEEDS_CACHE = [
  "cache-repo",
  "cache-dir",
  "cache-ttl",
  "cache-run-layers",
  "cache-copy-layers",
] as const;
/** Where Kaniko's warmer lays images. */
const WARMED = "/cache";
const EXPECTED_SOURCE =
  "expected type=registry,ref=REFERENCE, type=local,src=DIRECTORY, or a reference";
const EXPECTED_TARGET =
  "expected type=registry,ref=REFERENCE, type=local,dest=DIRECTORY or type=inline";
const SOURCE_FIELDS: Readonly<Record<string, readonly string[]>> = {
  registry: ["ref"],
  local: ["src", "tag"],
};
const TARGET_FIELDS: Readonly<Record<string, readonly string[]>> = {
  registry: ["ref", "mode", "oci-mediatypes", "image-manifest", "ignore-error"],
  local: ["dest", "tag", "mode", "oci-mediatypes", "image-manifest", "ignore-error"],
  inline: [],
};
/** BuildKit's services beyond registries. */
const ELSEWHERE: ReadonlySet<string> = new Set(["gha", "s3", "azblob"]);
const AS_BUILT = "layers are kept as the build compresses them: use --compression";
const INSTEAD: Readonly<Record<string, string>> = {
  compression: AS_BUILT,
  "compression-level": "use --compression-level",
  "force-compression": AS_BUILT,
  digest: "name a tag",
};

type CacheOption =
  | "cache"
  | "cacheDirectory"
  | "cacheMounts"
  | "registryCache"
  | "cacheFrom"
  | "cacheTo"
  | "noCache";

/** The library's options of the cache, `undefined` where nothing was said. @throws UsageError */
export function cacheOptions(flags: ParsedFlags): Readonly<Record<CacheOption, unknown>> {
  const list = <T>(name: "cache-from" | "cache-to", read: (text: string) => T): unknown => {
    const given = flags.many.get(name);
    return given?.map(read);
  };
  return {
    cache: flags.one.get("cache") === "false" ? false : undefined,
    registryCache: registryCache(flags),
    cacheDirectory:
      flags.one.get("cache") === "true" ? (flags.one.get("cache-dir") ?? WARMED) : undefined,
    cacheMounts: flags.one.get("cache-mounts"),
    cacheFrom: list("cache-from", cacheSource),
    cacheTo: list("cache-to", cacheTarget),
    noCache: noCache(flags),
  };
}

/** `--no-cache` is for all stages, whatever else is named. */
function noCache({ one, many }: ParsedFlags): true | readonly string[] | undefined {
  if (one.get("no-cache") === "true") return true;
  return many.get("no-cache-filter")?.flatMap((names) => names.split(","));
}

/** Kaniko's flags. Without `--cache=true` there is no cache in a registry, whatever else is given, as there. @throws UsageError */
function registryCache({ one, many }: ParsedFlags): RegistryCache | undefined {
  if (one.get("cache") !== "true") return undefined;
  const repository = one.get("cache-repo");
  if (repository === undefined && one.get("no-push") === "true") {
    if (one.get("no-push-cache") !== "true") {
      throw new UsageError(
        "--no-push with --cache=true: nothing says where layers are kept",
        "name a --cache-repo, or write --no-push-cache",
      );
    }
    if (!many.has("destination")) return undefined;
  }
  const given = {
    repository,
    ttl: one.get("cache-ttl"),
    runLayers: switchOf(one.get("cache-run-layers")),
    copyLayers: switchOf(one.get("cache-copy-layers")),
    push: one.get("no-push-cache") === "true" ? false : undefined,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** Flags that say more about the cache in a registry where there is none. */
export function idleCacheFlags({ one }: ParsedFlags): readonly string[] {
  if (one.has("cache")) return [];
  return NEEDS_CACHE.filter((name) => one.has(name)).map(
    (name) => `--${name} makes no difference without --cache=true`,
  );
}

function switchOf(text: string | undefined): boolean | undefined {
  return text === undefined ? undefined : text === "true";
}

/** buildx's `--cache-from`. @throws UsageError */
function cacheSource(text: string): CacheSource {
  if (!text.includes("=")) return { type: "registry", ref: need(text, text, "--cache-from") };
  const { type, fields } = readCache(text, "--cache-from", SOURCE_FIELDS, EXPECTED_SOURCE);
  const where = `--cache-from "${text}"`;
  if (type === "registry") return { type, ref: need(fields.get("ref"), "ref", where) };
  const tag = fields.get("tag");
  const src = need(fields.get("src"), "src", where);
  return { type: "local", src, ...(tag === undefined ? {} : { tag }) };
}

/** buildx's `--cache-to`. @throws UsageError */
function cacheTarget(text: string): CacheTarget {
  const whole = text.includes("=") ? text : `type=registry,ref=${text}`;
  const { type, fields } = readCache(whole, "--cache-to", TARGET_FIELDS, EXPECTED_TARGET);
  if (type === "inline") return { type };
  const where = `--cache-to "${text}"`;
  for (const name of ["oci-mediatypes", "image-manifest", "ignore-error"]) {
    if (readSwitch(text, fields, name, "--cache-to") !== false) continue;
    throw new UsageError(
      `${where}: ${name} cannot be false`,
      name === "ignore-error"
        ? "a cache that cannot be written never fails the build"
        : "what is written is an OCI image",
    );
  }
  const mode = fields.get("mode");
  if (mode !== undefined && mode !== "min" && mode !== "max") {
    throw new UsageError(`${where}: mode is min or max, not "${mode}"`);
  }
  const how: Pick<Extract<CacheTarget, { type: "registry" }>, "mode"> = mode === undefined
    ? {}
    : { mode };
  if (type === "registry") return { type, ref: need(fields.get("ref"), "ref", where), ...how };
  const tag = fields.get("tag");
  const dest = need(fields.get("dest"), "dest", where);
  return { type: "local", dest, ...(tag === undefined ? {} : { tag }), ...how };
}

function readCache(
  text: string,
  flag: string,
  known: Readonly<Record<string, readonly string[]>>,
  expected: string,
): { readonly type: string; readonly fields: Fields } {
  const fields = readFields(text, flag);
  const type = fields.get("type") ?? "";
  if (ELSEWHERE.has(type)) {
    throw new UsageError(
      `${flag} "${text}": type ${type} is not supported`,
      "keep the cache in a registry: type=registry,ref=REFERENCE",
    );
  }
  const names = Object.hasOwn(known, type) ? known[type] : undefined;
  if (names === undefined) throw new UsageError(`${flag} "${text}": no such type`, expected);
  for (const name of fields.keys()) {
    if (name === "type" || names.includes(name)) continue;
    const what = `type ${type} has no field "${name}"`;
    throw new UsageError(`${flag} "${text}": ${what}`, INSTEAD[name] ?? expected);
  }
  return { type, fields };
}

function need(value: string | undefined, name: string, where: string): string {
  if (value !== undefined && value !== "") return value;
  throw new UsageError(`${where}: it has no ${name}`);
}
