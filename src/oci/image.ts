import { TsbuildError } from "../errors.js";
import { type ParsedConfig, serializeConfig } from "./config.js";
import { digestOf } from "./digest.js";
import {
  type ImageManifest,
  type SerializedBlob,
  configMediaType,
  serializeManifest,
} from "./manifest.js";
import type { Reference } from "./reference.js";
import type { History, Image, ImageConfig, Layer, Platform } from "./types.js";

/** Fields of a config to replace; `undefined` takes an optional one away. */
export type ConfigPatch = {
  readonly [K in keyof ImageConfig]?: K extends OptionalField
    ? ImageConfig[K] | undefined
    : ImageConfig[K];
};
type OptionalField = {
  [K in keyof ImageConfig]-?: object extends Pick<ImageConfig, K> ? K : never;
}[keyof ImageConfig];

/** FROM scratch: no layers, nothing set. */
export function scratchImage(platform: Platform): Image {
  return {
    config: {
      platform,
      env: [],
      workingDir: "/",
      user: "",
      labels: {},
      exposedPorts: [],
      volumes: [],
      onBuild: [],
      otherConfig: {},
      other: {},
    },
    layers: [],
    history: [],
    format: "oci",
  };
}

/**
 * History must name each layer once, and some builders write too much or too little of it. As in BuildKit, the lowest
 * entries in excess count as empty, and entries that say nothing are added.
 */
function alignHistory(history: readonly History[], layers: number): readonly History[] {
  let excess = history.filter((entry) => !entry.emptyLayer).length - layers;
  const missing = Array.from({ length: Math.max(0, -excess) }, () => ({ emptyLayer: false }));
  const kept = history.map((entry) => {
    if (entry.emptyLayer || excess <= 0) return entry;
    excess -= 1;
    return { ...entry, emptyLayer: true };
  });
  return [...kept, ...missing];
}

/**
 * The image that a manifest and its config describe.
 * @param origin the repository that serves its layers
 * @throws TsbuildError REGISTRY_UNAVAILABLE when the two do not belong together
 */
export function imageOf(manifest: ImageManifest, parsed: ParsedConfig, origin?: Reference): Image {
  const { diffIds } = parsed;
  if (diffIds.length !== manifest.layers.length) {
    throw new TsbuildError(
      "REGISTRY_UNAVAILABLE",
      `tried to read an image: its manifest has ${manifest.layers.length} layers, its config ${diffIds.length}`,
      { hint: "the image is damaged, or is an artifact that is not a container image" },
    );
  }
  const layers = diffIds.flatMap((diffId, index): Layer[] => {
    const descriptor = manifest.layers[index];
    if (descriptor === undefined) return [];
    return [{ descriptor, diffId, ...(origin === undefined ? {} : { origin }) }];
  });
  return {
    config: parsed.config,
    layers,
    history: alignHistory(parsed.history, layers.length),
    format: manifest.format,
  };
}

function dated(config: ImageConfig, history: History | undefined): ImageConfig {
  return history?.created === undefined ? config : { ...config, created: history.created };
}

/** With one more layer on top; `created` becomes the history entry's. */
export function withLayer(image: Image, layer: Layer, history: Omit<History, "emptyLayer">): Image {
  const entry = { ...history, emptyLayer: false };
  return {
    ...image,
    config: dated(image.config, entry),
    layers: [...image.layers, layer],
    history: [...image.history, entry],
  };
}

/** With fields of the config replaced, and a history entry that has no layer where one is given. */
export function withConfig(
  image: Image,
  patch: ConfigPatch,
  history?: Omit<History, "emptyLayer">,
): Image {
  const entry = history && { ...history, emptyLayer: true };
  const merged = Object.entries({ ...image.config, ...patch }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    ...image,
    config: dated(Object.fromEntries(merged) as unknown as ImageConfig, entry),
    history: entry === undefined ? image.history : [...image.history, entry],
  };
}

/** What is pushed and written: config and manifest, serialised once. @throws TsbuildError USAGE, see {@link serializeManifest} */
export function serializeImage(
  image: Image,
  annotations: Readonly<Record<string, string>> = {},
): { readonly config: SerializedBlob; readonly manifest: SerializedBlob } {
  const bytes = serializeConfig(image);
  const descriptor = {
    mediaType: configMediaType(image.format),
    digest: digestOf(bytes),
    size: bytes.byteLength,
  };
  return {
    config: { bytes, descriptor },
    manifest: serializeManifest(image, descriptor, annotations),
  };
}
