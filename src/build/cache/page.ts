import { diffIdFromHex, digestOf, hexOf } from "../../oci/digest.js";
import { scratchImage, serializeImage } from "../../oci/image.js";
import { parseManifest, type SerializedBlob } from "../../oci/manifest.js";
import { layerMediaType } from "../../oci/media-types.js";
import type { Descriptor, History, Layer, Platform } from "../../oci/types.js";
import { isCacheKey, type CacheKey } from "../../solver/cache/key.js";
import { readRecord, writtenRecord } from "../../solver/cache/record-form.js";
import type { LayerRecord, RecordSubject, StepRecord } from "../../solver/cache/types.js";

/** The annotation of a page's manifest, and the field of an image's config, that hold the records. */
export const RECORDS = "tsbuild.cache.v1";
/** Bytes of an archive that ends at once. */
const EMPTY_TAR = 1024;
/** A page is no image that anybody runs; tools that look want to read something. */
const PLATFORM: Platform = { os: "linux", architecture: "unknown" };

/** A record by its key, and the step that it is of, where that is known. */
export interface Entry {
  readonly key: CacheKey;
  readonly record: StepRecord;
  readonly about?: RecordSubject;
}

/**
 * Records as one image that any registry takes: the layers that they tell of, each once, and they themselves as an
 * annotation, so that one answer has them all.
 */
export interface Page {
  readonly config: SerializedBlob;
  readonly manifest: SerializedBlob;
  readonly layers: readonly Layer[];
}

export function pageOf(entries: readonly Entry[]): Page {
  const layers = new Map<string, { readonly layer: Layer; readonly history: History }>();
  for (const { record, about } of entries) {
    if (record.kind !== "layer" || layers.has(record.layer.descriptor.digest)) continue;
    const { descriptor, diffId } = record.layer;
    const { mediaType, digest, size } = descriptor;
    layers.set(digest, {
      layer: { descriptor: { mediaType, digest, size }, diffId, isMade: true, ...placeOf(record) },
      history: {
        created: record.created,
        ...(about === undefined ? {} : { createdBy: about.instruction }),
        emptyLayer: false,
      },
    });
  }
  // Pointers alone: an image without layers is refused by some.
  const all = layers.size === 0 ? [emptyLayer()] : [...layers.values()];
  const scratch = scratchImage(PLATFORM);
  const created = all[0]?.history.created;
  const image = {
    ...scratch,
    config: { ...scratch.config, ...(created === undefined ? {} : { created }) },
    layers: all.map(({ layer }) => layer),
    history: all.map(({ history }) => history),
  };
  const annotations = { [RECORDS]: JSON.stringify(writtenEntries(entries)) };
  return { ...serializeImage(image, annotations), layers: image.layers };
}

/** What {@link readEntries} reads. */
export function writtenEntries(entries: readonly Entry[]): unknown {
  return entries.map(({ key, record }) => [key, writtenRecord(record)]);
}

/**
 * The records of a page; none of what is no page, or was written by another version.
 * @param place where a layer's bytes are
 */
export function readPage(
  manifest: Uint8Array,
  place: (layer: Descriptor) => Pick<LayerRecord, "origin" | "open">,
): ReadonlyMap<CacheKey, StepRecord> {
  try {
    const { annotations, layers } = parseManifest(manifest);
    const text = annotations[RECORDS];
    return text === undefined ? new Map() : readEntries(JSON.parse(text), layers, place);
  } catch {
    return new Map();
  }
}

/** @param layers those that are there: a record of another one is none */
export function readEntries(
  written: unknown,
  layers: readonly Descriptor[],
  place: (layer: Descriptor) => Pick<LayerRecord, "origin" | "open">,
): ReadonlyMap<CacheKey, StepRecord> {
  const sizes = new Map(layers.map(({ digest, size }) => [digest, size]));
  const entries = new Map<CacheKey, StepRecord>();
  for (const entry of Array.isArray(written) ? written : []) {
    const [key, value]: readonly unknown[] = Array.isArray(entry) ? entry : [];
    const record = readRecord(value);
    if (!isCacheKey(key) || record === undefined) continue;
    if (record.kind === "pointer") entries.set(key, record);
    else if (sizes.get(record.layer.descriptor.digest) === record.layer.descriptor.size) {
      entries.set(key, { ...record, ...place(record.layer.descriptor) });
    }
  }
  return entries;
}

function placeOf({ origin, open }: LayerRecord): Pick<Layer, "origin" | "open"> {
  return { ...(origin === undefined ? {} : { origin }), ...(open === undefined ? {} : { open }) };
}

function emptyLayer(): { readonly layer: Layer; readonly history: History } {
  const bytes = new Uint8Array(EMPTY_TAR);
  const digest = digestOf(bytes);
  const layer: Layer = {
    descriptor: { mediaType: layerMediaType("oci", "none"), digest, size: bytes.length },
    diffId: diffIdFromHex(hexOf(digest)),
    open: async function* () {
      yield bytes;
    },
  };
  return { layer, history: { emptyLayer: false } };
}
