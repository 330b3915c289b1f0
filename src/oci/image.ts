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
import type { History, Image, Layer, Platform } from "./types.js";

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

/**
 * What is pushed and written: config and manifest, serialised once.
 * @param fields what the config says besides: names that the specification does not know
 * @throws TsbuildError USAGE, see {@link serializeManifest}
 */
export function serializeImage(
  image: Image,
  annotations: Readonly<Record<string, string>> = {},
  fields: Readonly<Record<string, unknown>> = {},
): { readonly config: SerializedBlob; readonly manifest: SerializedBlob } {
  const bytes = serializeConfig(image, fields);
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
