/** Little archives of large trees, made without ever being large: gzip members stand one behind the other. */
import { createHash } from "node:crypto";
import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { busyboxTar, hostArchitecture } from "../support/bases.js";
import { bytesOf, TRAILER } from "./tar.js";

const PIECE = 16 * 1024 * 1024; // bytes
export const GB = 1_000_000_000;

/** A gzip stream in parts; `times` of each. */
export type Bomb = readonly { readonly part: Buffer; readonly times: number }[];

/** One file of `size` bytes, rounded to whole pieces, that all are `byte`. */
export function fileBomb(name: string, size: number, byte: number): Bomb {
  const times = Math.ceil(size / PIECE);
  const header = bytesOf({
    name,
    pax: [["size", String(times * PIECE)]],
    // The record counts; the field has no room for it.
    size: "00000000000\0",
  });
  return [
    { part: gzipSync(header), times: 1 },
    { part: gzipSync(Buffer.alloc(PIECE, byte), { level: 9 }), times },
    { part: gzipSync(TRAILER), times: 1 },
  ];
}

/** The bytes in the file that {@link fileBomb} makes. */
export function bombSize(size: number): number {
  return Math.ceil(size / PIECE) * PIECE;
}

/** `count` files, a thousand in each directory, each with a name of 20 bytes; empty ones, unless `data` says what is in all of them. */
export function entryBomb(count: number, { top = "many", data = "" } = {}): Bomb {
  const parts: { part: Buffer; times: number }[] = [];
  for (let start = 0; start < count; start += 1_000) {
    const directory = `${top}/${String(start / 1_000).padStart(6, "0")}`;
    const entries = [bytesOf({ name: `${directory}/`, flag: "5", mode: 0o755 })];
    for (let i = start; i < Math.min(count, start + 1_000); i++) {
      entries.push(bytesOf({ name: `${directory}/file-${String(i).padStart(15, "0")}`, data }));
    }
    parts.push({ part: gzipSync(Buffer.concat(entries), { level: 1 }), times: 1 });
  }
  return [...parts, { part: gzipSync(TRAILER), times: 1 }];
}

export async function writeBomb(path: string, bomb: Bomb): Promise<void> {
  await using handle = await open(path, "w");
  for (const { part, times } of bomb) {
    for (let i = 0; i < times; i++) await handle.writeFile(part);
  }
}

/** An OCI layout of busybox and the bombs upon it, a layer each. */
export async function writeBombLayout(dir: string, ...bombs: readonly Bomb[]): Promise<void> {
  const blobs = join(dir, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (mediaType: string, data: Buffer) => {
    const hex = createHash("sha256").update(data).digest("hex");
    await writeFile(join(blobs, hex), data);
    return { mediaType, digest: `sha256:${hex}`, size: data.length };
  };
  const tar = await busyboxTar();
  const layer = "application/vnd.oci.image.layer.v1.tar+gzip";
  const layers = [await put(layer, gzipSync(tar, { level: 1 }))];
  const diffIds = [createHash("sha256").update(tar).digest("hex")];
  for (const bomb of bombs) {
    const { packed, plain, size } = measureBomb(bomb);
    await writeBomb(join(blobs, packed), bomb);
    layers.push({ mediaType: layer, digest: `sha256:${packed}`, size });
    diffIds.push(plain);
  }
  const config = await put(
    "application/vnd.oci.image.config.v1+json",
    json({
      architecture: hostArchitecture(),
      os: "linux",
      config: { Env: ["PATH=/bin:/usr/bin"] },
      rootfs: { type: "layers", diff_ids: diffIds.map((id) => `sha256:${id}`) },
    }),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = await put(mediaType, json({ schemaVersion: 2, mediaType, config, layers }));
  await writeFile(join(dir, "index.json"), json({ schemaVersion: 2, manifests: [manifest] }));
  await writeFile(join(dir, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
}

/** The digests of its bytes and of what they become, in hex, and how many the former are. */
function measureBomb(bomb: Bomb): { packed: string; plain: string; size: number } {
  const packed = createHash("sha256");
  const plain = createHash("sha256");
  let size = 0;
  for (const { part, times } of bomb) {
    const whole = gunzipSync(part);
    for (let i = 0; i < times; i++) {
      packed.update(part);
      plain.update(whole);
      size += part.length;
    }
  }
  return { packed: packed.digest("hex"), plain: plain.digest("hex"), size };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
