import { parseDiffId, parseDigest } from "../../oci/digest.js";
import { isCacheKey } from "./key.js";
import type { LayerRecord, StepRecord } from "./types.js";

/** Of the form. Records of another one are none. */
const VERSION = 1;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;

/** A record as JSON; where its blob can be had besides is for who keeps it to know. */
export function writtenRecord(record: StepRecord): Readonly<Record<string, unknown>> {
  if (record.kind === "pointer") return { version: VERSION, kind: "pointer", to: record.to };
  const { layer, level, runs, created, driver } = record;
  const { descriptor, diffId, uncompressedSize } = layer;
  const { mediaType, digest, size } = descriptor;
  return {
    version: VERSION,
    kind: "layer",
    layers: [{ mediaType, digest, size, diffId, uncompressedSize }],
    runs,
    created,
    ...(level === undefined ? {} : { level }),
    ...(driver === undefined ? {} : { driver }),
  };
}

/** `undefined` for what is none, or of another version. */
export function readRecord(value: unknown): StepRecord | undefined {
  const record = objectOf(value);
  if (record?.["version"] !== VERSION) return undefined;
  const { kind, to } = record;
  if (kind === "pointer") return isCacheKey(to) ? { kind, to } : undefined;
  try {
    return kind === "layer" ? readLayer(record) : undefined;
  } catch {
    return undefined;
  }
}

function readLayer(record: Readonly<Record<string, unknown>>): LayerRecord | undefined {
  const { layers, runs, created, level, driver } = record;
  const layer = objectOf(Array.isArray(layers) ? layers[0] : undefined);
  const { mediaType, digest, size, diffId, uncompressedSize } = layer ?? {};
  if (!isCacheKey(runs) || typeof created !== "string" || !TIME.test(created)) return undefined;
  if (typeof mediaType !== "string" || !isSize(size) || !isSize(uncompressedSize)) return undefined;
  return {
    kind: "layer",
    layer: {
      descriptor: { mediaType, digest: parseDigest(String(digest)), size },
      diffId: parseDiffId(String(diffId)),
      uncompressedSize,
    },
    runs,
    created,
    ...(typeof level === "number" ? { level } : {}),
    ...(typeof driver === "string" ? { driver } : {}),
  };
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
