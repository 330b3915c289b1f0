import { TsbuildError } from "../errors.js";
import { digestOf, parseDigest } from "../oci/digest.js";
import {
  DOCKER_INDEX,
  DOCKER_MANIFEST,
  isIndex,
  isManifest,
  MANIFEST_TYPES,
  OCI_INDEX,
  OCI_MANIFEST,
} from "../oci/media-types.js";
import { formatPlatform, matchPlatform } from "../oci/platform.js";
import { familiarName, type Reference } from "../oci/reference.js";
import type { Descriptor, Platform } from "../oci/types.js";
import type { KeptManifests, Manifest } from "./types.js";

/** Bytes; image-spec asks registries to take 4 MiB. */
export const MAX_MANIFEST = 16 * 1024 * 1024;
export const ACCEPT_MANIFESTS = MANIFEST_TYPES.join(", ");

/** Entries without a platform mean this one, as go-containerregistry reads them. */
const UNNAMED_PLATFORM: Platform = { os: "linux", architecture: "amd64" };

/**
 * Checks what a registry sent for a reference.
 * @throws TsbuildError REGISTRY_UNAVAILABLE when the bytes are not what was asked, or of a kind nobody builds on
 */
export function readManifest(
  reference: Reference,
  bytes: Uint8Array,
  contentType: string | undefined,
  claimedDigest: string | undefined,
): Manifest {
  const what = `tried to pull ${familiarName(reference)}`;
  const digest = digestOf(bytes);
  const claimed = claimedDigest?.startsWith("sha256:") === true ? claimedDigest : undefined;
  const expected = reference.digest ?? claimed;
  if (expected !== undefined && expected !== digest) {
    throw new TsbuildError(
      "REGISTRY_UNAVAILABLE",
      `${what}: the manifest is corrupt: its digest is ${digest}, expected ${expected}`,
    );
  }
  const body = parseObject(bytes);
  if (body === undefined) {
    throw new TsbuildError("REGISTRY_UNAVAILABLE", `${what}: the answer is not a manifest`);
  }
  const mediaType = mediaTypeOf(body, contentType);
  if (mediaType === undefined) {
    const kind = body["schemaVersion"] === 1 ? "schema 1" : `"${shown(body, contentType)}"`;
    throw new TsbuildError(
      "REGISTRY_UNAVAILABLE",
      `${what}: its manifest is of kind ${kind}, which is not supported`,
      {
        hint: "push the image again with a current tool, as an OCI or a Docker schema 2 image",
      },
    );
  }
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
}

/** What a reference names by digest, where that is kept and undamaged. */
export async function keptManifest(
  reference: Reference,
  kept: KeptManifests | undefined,
): Promise<Manifest | undefined> {
  if (reference.digest === undefined) return undefined;
  const bytes = await kept?.get(reference.digest);
  if (bytes === undefined || digestOf(bytes) !== reference.digest) return undefined;
  return readManifest(reference, bytes, undefined, undefined);
}

/** The manifest's own word first, then the header, then its shape: some registries send application/json. */
function mediaTypeOf(
  body: Readonly<Record<string, unknown>>,
  contentType: string | undefined,
): string | undefined {
  if (body["schemaVersion"] === 1) return undefined;
  const header = contentType?.split(";")[0]?.trim();
  for (const named of [body["mediaType"], header]) {
    if (typeof named === "string" && (isIndex(named) || isManifest(named))) return named;
  }
  if (typeof body["mediaType"] === "string") return undefined;
  if (Array.isArray(body["manifests"])) return OCI_INDEX;
  return Array.isArray(body["layers"]) ? OCI_MANIFEST : undefined;
}

function shown(body: Readonly<Record<string, unknown>>, contentType: string | undefined): string {
  const named = body["mediaType"];
  return (typeof named === "string" ? named : (contentType ?? "unknown")).slice(0, 100);
}

/**
 * The best entry of an index for a platform.
 * @throws TsbuildError REGISTRY_UNAVAILABLE, with the platforms that there are
 */
export function chooseEntry(reference: Reference, index: Manifest, wanted: Platform): Descriptor {
  const entries = readEntries(reference, index);
  let best: Descriptor | undefined;
  let bestScore = 0;
  for (const entry of entries) {
    const score = matchPlatform(entry.platform ?? UNNAMED_PLATFORM, wanted);
    if (score > bestScore) {
      best = entry;
      bestScore = score;
    }
  }
  if (best !== undefined) return best;
  const offered = entries
    .flatMap(({ platform }) => (platform === undefined ? [] : [formatPlatform(platform)]))
    .filter((name) => name !== "unknown/unknown");
  throw new TsbuildError(
    "REGISTRY_UNAVAILABLE",
    `tried to pull ${familiarName(reference)}: it has no image for ${formatPlatform(wanted)}`,
    {
      hint:
        offered.length === 0
          ? "the index names no platform"
          : `it has ${[...new Set(offered)].join(", ")}`,
    },
  );
}

function readEntries(reference: Reference, index: Manifest): readonly Descriptor[] {
  const listed = parseObject(index.bytes)?.["manifests"];
  if (!Array.isArray(listed)) {
    throw new TsbuildError(
      "REGISTRY_UNAVAILABLE",
      `tried to pull ${familiarName(reference)}: its index lists no manifests`,
    );
  }
  return listed.flatMap((item: unknown) => readEntry(item, index.descriptor.mediaType) ?? []);
}

function readEntry(item: unknown, indexType: string): Descriptor | undefined {
  if (!isObject(item)) return undefined;
  const { digest, size } = item;
  if (typeof digest !== "string" || typeof size !== "number") return undefined;
  const named = item["mediaType"];
  const usual = indexType === DOCKER_INDEX ? DOCKER_MANIFEST : OCI_MANIFEST;
  const mediaType = typeof named === "string" && named !== "" ? named : usual;
  if (!isIndex(mediaType) && !isManifest(mediaType)) return undefined;
  const platform = readPlatform(item["platform"]);
  return {
    mediaType,
    digest: parseDigest(digest),
    size,
    ...(platform === undefined ? {} : { platform }),
  };
}

function readPlatform(value: unknown): Platform | undefined {
  if (!isObject(value)) return undefined;
  const { os, architecture, variant } = value;
  if (typeof os !== "string" || typeof architecture !== "string") return undefined;
  const osVersion = value["os.version"];
  return {
    os,
    architecture,
    ...(typeof variant === "string" && variant !== "" ? { variant } : {}),
    ...(typeof osVersion === "string" ? { osVersion } : {}),
  };
}

function parseObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
