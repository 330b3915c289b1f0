import { type DiffId, parseDiffId } from "./digest.js";
import { type JsonObject, type JsonReader, encodeJson, jsonReader, sortKeys } from "./json.js";
import type { Healthcheck, History, Image, ImageConfig } from "./types.js";

/** What a config blob says. */
export interface ParsedConfig {
  readonly config: ImageConfig;
  readonly history: readonly History[];
  readonly diffIds: readonly DiffId[];
}

/** The object without the fields that are `undefined`, for types whose optional fields are absent instead. */
type Defined<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K];
} & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};
function defined<T extends object>(object: T): Defined<T> {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Defined<T>;
}

/** Docker's first images have a plain string where a list of arguments is meant. */
function words(read: JsonReader, value: unknown, where: string): readonly string[] | undefined {
  return typeof value === "string" ? [value] : read.strings(value, where);
}

function parseHealthcheck(read: JsonReader, value: unknown): Healthcheck | undefined {
  if (value === undefined || value === null) return undefined;
  const where = "config.Healthcheck";
  const raw = read.object(value, where);
  return {
    test: words(read, raw["Test"], `${where}.Test`) ?? [],
    ...defined({
      interval: read.integer(raw["Interval"], `${where}.Interval`),
      timeout: read.integer(raw["Timeout"], `${where}.Timeout`),
      startPeriod: read.integer(raw["StartPeriod"], `${where}.StartPeriod`),
      startInterval: read.integer(raw["StartInterval"], `${where}.StartInterval`),
      retries: read.integer(raw["Retries"], `${where}.Retries`),
    }),
  };
}

function parseImageConfig(read: JsonReader, top: JsonObject): ImageConfig {
  const raw = read.object(top["config"], "config");
  const text = (key: string): string | undefined => read.string(top[key], key);
  const setting = (key: string): string | undefined => read.string(raw[key], `config.${key}`);
  const list = (key: string): readonly string[] | undefined =>
    words(read, raw[key], `config.${key}`);
  const keys = (key: string): readonly string[] =>
    Object.keys(read.object(raw[key], `config.${key}`));
  return {
    platform: {
      // Both are required; Docker's first images, all of them linux/amd64, leave them out.
      os: text("os") || "linux",
      architecture: text("architecture") || "amd64",
      ...defined({
        variant: text("variant") || undefined,
        osVersion: text("os.version") || undefined,
      }),
    },
    ...defined({ author: text("author") || undefined, created: text("created") || undefined }),
    env: list("Env") ?? [],
    ...defined({ cmd: list("Cmd"), entrypoint: list("Entrypoint"), shell: list("Shell") }),
    workingDir: setting("WorkingDir") ?? "",
    user: setting("User") ?? "",
    labels: read.stringMap(raw["Labels"], "config.Labels"),
    exposedPorts: keys("ExposedPorts"),
    volumes: keys("Volumes"),
    ...defined({
      stopSignal: setting("StopSignal") || undefined,
      healthcheck: parseHealthcheck(read, raw["Healthcheck"]),
      argsEscaped: read.boolean(raw["ArgsEscaped"], "config.ArgsEscaped") || undefined,
    }),
    onBuild: list("OnBuild") ?? [],
    ...defined({ osFeatures: read.strings(top["os.features"], "os.features") }),
  };
}

function parseHistory(read: JsonReader, value: unknown): readonly History[] {
  return (read.list(value, "history") ?? []).map((item, index) => {
    const where = `history[${index}]`;
    const raw = read.object(item, where);
    const text = (key: string): string | undefined =>
      read.string(raw[key], `${where}.${key}`) || undefined;
    return {
      ...defined({
        created: text("created"),
        createdBy: text("created_by"),
        author: text("author"),
        comment: text("comment"),
      }),
      emptyLayer: read.boolean(raw["empty_layer"], `${where}.empty_layer`) ?? false,
    };
  });
}

function parseDiffIds(read: JsonReader, value: unknown): readonly DiffId[] {
  const list = read.strings(read.object(value, "rootfs")["diff_ids"], "rootfs.diff_ids");
  if (value === undefined || list === undefined) read.fail("rootfs.diff_ids", "is missing");
  return (list ?? []).map((text, index) => {
    try {
      return parseDiffId(text);
    } catch (error) {
      return read.fail(`rootfs.diff_ids[${index}]`, "is not a sha256 digest", error);
    }
  });
}

/**
 * Reads a config blob (image-spec/config.md, and Docker's own fields). Fields that are in neither are left out, as
 * by BuildKit: they are about the container or the machine that the base was made with.
 * @throws TsbuildError REGISTRY_UNAVAILABLE naming the field that is wrong; so does an artifact that is no image.
 */
export function parseConfig(bytes: Uint8Array): ParsedConfig {
  const read = jsonReader("an image config");
  const top = read.parse(bytes);
  return {
    diffIds: parseDiffIds(read, top["rootfs"]),
    config: parseImageConfig(read, top),
    history: parseHistory(read, top["history"]),
  };
}

function healthcheckJson(check: Healthcheck): JsonObject {
  return {
    Test: listOf(check.test),
    Interval: check.interval || undefined,
    Timeout: check.timeout || undefined,
    StartPeriod: check.startPeriod || undefined,
    StartInterval: check.startInterval || undefined,
    Retries: check.retries || undefined,
  };
}

function setOf(names: readonly string[]): JsonObject | undefined {
  if (names.length === 0) return undefined;
  return sortKeys(Object.fromEntries(names.map((name) => [name, {}])));
}

/** An empty list says no more than none does, and BuildKit leaves it out. */
function listOf(items: readonly string[] | undefined): readonly string[] | undefined {
  return items === undefined || items.length === 0 ? undefined : items;
}

/** In BuildKit's order. */
function configJson(config: ImageConfig): JsonObject {
  return {
    User: config.user || undefined,
    ExposedPorts: setOf(config.exposedPorts),
    Env: listOf(config.env),
    Entrypoint: listOf(config.entrypoint),
    Cmd: listOf(config.cmd),
    Volumes: setOf(config.volumes),
    WorkingDir: config.workingDir || undefined,
    Labels: Object.keys(config.labels).length === 0 ? undefined : sortKeys(config.labels),
    StopSignal: config.stopSignal,
    ArgsEscaped: config.argsEscaped || undefined,
    Healthcheck: config.healthcheck && healthcheckJson(config.healthcheck),
    OnBuild: listOf(config.onBuild),
    Shell: listOf(config.shell),
  };
}

function historyJson(entry: History): JsonObject {
  return {
    created: entry.created,
    created_by: entry.createdBy,
    author: entry.author,
    comment: entry.comment,
    empty_layer: entry.emptyLayer || undefined,
  };
}

/** The config blob of an image. The same image gives the same bytes: top-level keys are sorted, as BuildKit's are. */
export function serializeConfig(
  image: Image,
  fields: Readonly<Record<string, unknown>> = {},
): Uint8Array {
  const { config, layers, history } = image;
  return encodeJson(
    sortKeys({
      ...fields,
      architecture: config.platform.architecture,
      author: config.author,
      config: configJson(config),
      created: config.created,
      history: history.map(historyJson),
      os: config.platform.os,
      "os.features": listOf(config.osFeatures),
      "os.version": config.platform.osVersion,
      rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
      variant: config.platform.variant,
    }),
  );
}
