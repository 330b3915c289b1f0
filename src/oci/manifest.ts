import { TsbuildError } from "../errors.js";
import { type Digest, digestOf, parseDigest } from "./digest.js";
import {
  type JsonObject,
  type JsonReader,
  encodeJson,
  fieldsBesides,
  jsonReader,
  sortKeys,
} from "./json.js";
import {
  DOCKER_CONFIG,
  DOCKER_FOREIGN_LAYER,
  DOCKER_INDEX,
  DOCKER_LAYER,
  DOCKER_MANIFEST,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_LAYER,
  OCI_MANIFEST,
  layerCompression,
  layerMediaType,
} from "./media-types.js";
import { matchPlatform } from "./platform.js";
import type { Descriptor, Image, ImageFormat, Platform } from "./types.js";

/** image-spec/manifest.md, or Docker's image manifest version 2 schema 2. */
export interface ImageManifest {
  readonly mediaType: string;
  readonly format: ImageFormat;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Fields that we do not know (`subject`, `artifactType`), as they were. */
  readonly other: JsonObject;
}

/** image-spec/image-index.md, or Docker's manifest list. */
export interface ImageIndex {
  readonly mediaType: string;
  readonly format: ImageFormat;
  readonly manifests: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Fields that we do not know, as they were. */
  readonly other: JsonObject;
}

/** Bytes, and the descriptor that names them. */
export interface SerializedBlob {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

const OCI_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN = DOCKER_FOREIGN_LAYER.replace(/\.gzip$/, "");
const LAYER_FORMS: ReadonlySet<string> = new Set(
  [OCI_LAYER, OCI_NONDISTRIBUTABLE]
    .flatMap((type) => [type, `${type}+gzip`, `${type}+zstd`])
    .concat([DOCKER_LAYER, DOCKER_FOREIGN].flatMap((type) => [type, `${type}.gzip`])),
);
const COMMON = ["schemaVersion", "mediaType", "annotations"];
const KNOWN_MANIFEST: ReadonlySet<string> = new Set([...COMMON, "config", "layers"]);
const KNOWN_INDEX: ReadonlySet<string> = new Set([...COMMON, "manifests"]);
const KNOWN_DESCRIPTOR: ReadonlySet<string> = new Set([
  "mediaType",
  "digest",
  "size",
  "annotations",
  "platform",
]);

function parsePlatformField(read: JsonReader, value: unknown, where: string): Platform | undefined {
  const raw = read.object(value, where);
  const os = read.string(raw["os"], `${where}.os`);
  const architecture = read.string(raw["architecture"], `${where}.architecture`);
  if (!os || !architecture) return undefined;
  const variant = read.string(raw["variant"], `${where}.variant`);
  const osVersion = read.string(raw["os.version"], `${where}.os.version`);
  return { os, architecture, ...(variant ? { variant } : {}), ...(osVersion ? { osVersion } : {}) };
}

function parseDigestField(read: JsonReader, value: unknown, where: string): Digest {
  const text = read.string(value, where);
  if (text === undefined) return read.fail(where, "is missing");
  try {
    return parseDigest(text);
  } catch (error) {
    const form = /^[a-z0-9+._-]+:/.exec(text)?.[0];
    return form === undefined || form === "sha256:"
      ? read.fail(where, "is not a digest", error)
      : read.fail(where, `uses ${form.slice(0, -1)}; only sha256 is supported`, error);
  }
}

function parseDescriptor(read: JsonReader, value: unknown, where: string): Descriptor {
  const raw = read.object(value, where);
  const size = read.integer(raw["size"], `${where}.size`);
  if (size === undefined || size < 0) return read.fail(`${where}.size`, "is missing or negative");
  const annotations = read.stringMap(raw["annotations"], `${where}.annotations`);
  const platform = parsePlatformField(read, raw["platform"], `${where}.platform`);
  const other = fieldsBesides(raw, KNOWN_DESCRIPTOR);
  return {
    mediaType: read.string(raw["mediaType"], `${where}.mediaType`) ?? "",
    digest: parseDigestField(read, raw["digest"], `${where}.digest`),
    size,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(platform === undefined ? {} : { platform }),
    ...(Object.keys(other).length === 0 ? {} : { other }),
  };
}

/** Decides the document's type by its own word, then the sender's, then by what it describes. */
function mediaTypeOf(
  read: JsonReader,
  top: JsonObject,
  served: string | undefined,
  kinds: { readonly oci: string; readonly docker: string },
  described: readonly Descriptor[],
): string {
  const own = read.string(top["mediaType"], "mediaType") || undefined;
  const wanted = [kinds.oci, kinds.docker];
  // Registries that do not know a type serve it as plain JSON.
  const said = served !== undefined && /\+json$|prettyjws$/.test(served) ? served : undefined;
  if (own !== undefined && said !== undefined && own !== said) {
    read.fail("mediaType", `is ${own}, yet it was served as ${said}`);
  }
  const type = own ?? said;
  if (type !== undefined && !wanted.includes(type)) {
    read.fail("mediaType", `is ${type}, expected ${wanted.join(" or ")}`);
  }
  const docker = described.some((one) => one.mediaType.startsWith("application/vnd.docker."));
  return type ?? (docker ? kinds.docker : kinds.oci);
}

function parseTop(read: JsonReader, bytes: Uint8Array): JsonObject {
  const top = read.parse(bytes);
  const version = top["schemaVersion"];
  if (version === 1) {
    read.fail("schemaVersion", "is 1: Docker's schema 1 is not supported, push the image again");
  }
  if (version !== 2) read.fail("schemaVersion", "is not 2");
  // One document that reads as both lets two tools see two images under one digest (CVE-2021-41190).
  if ("manifests" in top && ("layers" in top || "config" in top)) {
    read.fail("the document", "is a manifest and an index at once");
  }
  return top;
}

/**
 * Reads an image manifest, OCI or Docker.
 * @param served the media type that it came with (a Content-Type, or a descriptor's); must agree with its own.
 * @throws TsbuildError REGISTRY_UNAVAILABLE naming the field that is wrong
 */
export function parseManifest(bytes: Uint8Array, served?: string): ImageManifest {
  const read = jsonReader("an image manifest");
  const top = parseTop(read, bytes);
  if (top["config"] === undefined) read.fail("config", "is missing");
  const config = parseDescriptor(read, top["config"], "config");
  const layers = (read.list(top["layers"], "layers") ?? []).map((layer, index) =>
    parseDescriptor(read, layer, `layers[${index}]`),
  );
  const kinds = { oci: OCI_MANIFEST, docker: DOCKER_MANIFEST };
  const mediaType = mediaTypeOf(read, top, served, kinds, [config]);
  return {
    mediaType,
    format: mediaType === DOCKER_MANIFEST ? "docker" : "oci",
    config,
    layers,
    annotations: read.stringMap(top["annotations"], "annotations"),
    other: fieldsBesides(top, KNOWN_MANIFEST),
  };
}

/** Reads an image index or a manifest list, as {@link parseManifest}. @throws TsbuildError REGISTRY_UNAVAILABLE */
export function parseIndex(bytes: Uint8Array, served?: string): ImageIndex {
  const read = jsonReader("an image index");
  const top = parseTop(read, bytes);
  const list = read.list(top["manifests"], "manifests");
  if (list === undefined) read.fail("manifests", "is missing");
  const manifests = (list ?? []).map((one, index) =>
    parseDescriptor(read, one, `manifests[${index}]`),
  );
  const kinds = { oci: OCI_INDEX, docker: DOCKER_INDEX };
  const mediaType = mediaTypeOf(read, top, served, kinds, manifests);
  return {
    mediaType,
    format: mediaType === DOCKER_INDEX ? "docker" : "oci",
    manifests,
    annotations: read.stringMap(top["annotations"], "annotations"),
    other: fieldsBesides(top, KNOWN_INDEX),
  };
}

/** The entry of an index that serves a platform best; attestations and other artifacts never do. */
export function selectManifest(
  manifests: readonly Descriptor[],
  wanted: Platform,
): Descriptor | undefined {
  let best: Descriptor | undefined;
  let bestScore = 0;
  for (const one of manifests) {
    const score = one.platform === undefined ? 0 : matchPlatform(one.platform, wanted);
    if (score > bestScore) [best, bestScore] = [one, score];
  }
  return best;
}

/**
 * A layer's descriptor with its media type in the words of `format`; the bytes stay the same.
 * @throws TsbuildError USAGE for zstd in Docker's format, and for a type that is no layer we can read.
 */
export function layerInFormat(layer: Descriptor, format: ImageFormat): Descriptor {
  const { mediaType } = layer;
  if (!LAYER_FORMS.has(mediaType)) {
    throw new TsbuildError(
      "USAGE",
      `tried to write an image manifest: layer ${layer.digest} has the media type "${mediaType}", which is no image layer`,
      { hint: "encrypted layers and artifacts that are not images cannot be a base" },
    );
  }
  const compression = layerCompression(mediaType);
  if (format === "docker" && compression === "zstd") {
    throw new TsbuildError(
      "USAGE",
      `tried to write an image manifest: layer ${layer.digest} is zstd, which Docker's format does not have`,
      { hint: "use --image-format=oci, or --compression=gzip and a base with gzip layers" },
    );
  }
  const regular = layerMediaType(format, compression);
  const foreign =
    mediaType.startsWith(DOCKER_FOREIGN) || mediaType.startsWith(OCI_NONDISTRIBUTABLE);
  if (!foreign) return { ...layer, mediaType: regular };
  const converted =
    format === "oci"
      ? regular.replace(OCI_LAYER, OCI_NONDISTRIBUTABLE)
      : regular.replace(DOCKER_LAYER, DOCKER_FOREIGN);
  return { ...layer, mediaType: converted };
}

/** Keys in the order of the spec's own examples. */
function descriptorJson(descriptor: Descriptor): JsonObject {
  const { mediaType, digest, size, annotations, platform, other } = descriptor;
  return {
    mediaType,
    digest,
    size,
    annotations: annotations && sortKeys(annotations),
    platform: platform && {
      architecture: platform.architecture,
      os: platform.os,
      "os.version": platform.osVersion,
      variant: platform.variant,
    },
    ...sortKeys(fieldsBesides(other ?? {}, KNOWN_DESCRIPTOR)),
  };
}

function serialized(mediaType: string, bytes: Uint8Array): SerializedBlob {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.byteLength } };
}

/** The config's media type in an image of that format. */
export function configMediaType(format: ImageFormat): string {
  return format === "oci" ? OCI_CONFIG : DOCKER_CONFIG;
}

/**
 * The manifest of an image in the image's own format: config and every layer, those of the base too, take that format's
 * media types. The same input gives the same bytes.
 * @throws TsbuildError USAGE when Docker's format cannot say it: a zstd layer, annotations.
 */
export function serializeManifest(
  image: Image,
  config: Descriptor,
  annotations: Readonly<Record<string, string>> = {},
): SerializedBlob {
  const { format } = image;
  const annotated = Object.keys(annotations).length > 0;
  if (annotated && format === "docker") {
    throw new TsbuildError(
      "USAGE",
      "tried to write an image manifest: Docker's format has no annotations",
      { hint: "use --image-format=oci" },
    );
  }
  const mediaType = format === "oci" ? OCI_MANIFEST : DOCKER_MANIFEST;
  const bytes = encodeJson({
    schemaVersion: 2,
    mediaType,
    config: descriptorJson({ ...config, mediaType: configMediaType(format) }),
    layers: image.layers.map((layer) => descriptorJson(layerInFormat(layer.descriptor, format))),
    annotations: annotated ? sortKeys(annotations) : undefined,
  });
  return serialized(mediaType, bytes);
}

/** An index of manifests, whose own media types have to be of the same format. */
export function serializeIndex(
  format: ImageFormat,
  manifests: readonly Descriptor[],
  annotations: Readonly<Record<string, string>> = {},
): SerializedBlob {
  const mediaType = format === "oci" ? OCI_INDEX : DOCKER_INDEX;
  const bytes = encodeJson({
    schemaVersion: 2,
    mediaType,
    manifests: manifests.map(descriptorJson),
    annotations: Object.keys(annotations).length === 0 ? undefined : sortKeys(annotations),
  });
  return serialized(mediaType, bytes);
}
