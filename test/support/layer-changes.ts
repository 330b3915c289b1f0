import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll } from "vitest";
import {
  type Change,
  type PackOptions,
  type SealedLayer,
  type TarEntry,
  type TarHeader,
  TRAILER,
  TarReader,
  bodyPadding,
  openIndex,
  packLayer,
  tarHeader,
} from "../../src/layer/index.js";
import { file } from "./layer-entries.js";
import { type DiffId, diffIdFromHex } from "../../src/oci/digest.js";

export { directory, file, opaque, remove, symlink, write } from "./layer-entries.js";

type LayerIndex = ReturnType<typeof openIndex>;

/** A directory of the test file's own, deleted after its last test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "tsbuild-layer-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export const never: AbortSignal = new AbortController().signal;

/** Packs into files of `at`; gives the layer, its bytes and its index. */
export async function pack(
  at: string,
  changes: Iterable<Change>,
  options: Partial<PackOptions> = {},
): Promise<{ layer: SealedLayer; blob: Buffer; index: LayerIndex; indexBytes: Buffer }> {
  const name = join(at, Math.random().toString(36).slice(2));
  const layer = await packLayer(changes, {
    compression: "none",
    format: "oci",
    blobPath: `${name}.blob`,
    indexPath: `${name}.index`,
    signal: never,
    ...options,
  });
  const indexBytes = readFileSync(`${name}.index`);
  return { layer, blob: readFileSync(`${name}.blob`), index: openIndex(indexBytes), indexBytes };
}

export interface ReadEntry extends TarEntry {
  readonly content: Buffer;
}

/** Reads a whole archive, `step` bytes at a time. */
export function readTar(tar: Uint8Array, step: number = tar.length || 1): ReadEntry[] {
  const entries: { entry: TarEntry; chunks: Buffer[] }[] = [];
  const reader = new TarReader(
    {
      entry: (entry) => void entries.push({ entry, chunks: [] }),
      data: (chunk) => void entries.at(-1)?.chunks.push(Buffer.from(chunk)),
      hole: (bytes) => void entries.at(-1)?.chunks.push(Buffer.alloc(bytes)),
      end: () => undefined,
      skipped: () => undefined,
    },
    { what: "the archive" },
  );
  for (let at = 0; at < tar.length; at += step) reader.write(tar.subarray(at, at + step));
  reader.finish();
  return entries.map(({ entry, chunks }) => ({ ...entry, content: Buffer.concat(chunks) }));
}

/** Headers and contents as they are given, hostile ones too. */
export function rawTar(
  entries: readonly (Partial<TarHeader> & { path: string; content?: string })[],
): Buffer {
  const parts: Uint8Array[] = [];
  for (const { content = "", ...entry } of entries) {
    const size = Buffer.byteLength(content);
    parts.push(tarHeader({ ...file(""), ...entry, size }));
    parts.push(Buffer.from(content), Buffer.alloc(bodyPadding(size)));
  }
  return Buffer.concat([...parts, TRAILER]);
}

export function diffIdOf(tar: Uint8Array): DiffId {
  return diffIdFromHex(createHash("sha256").update(tar).digest("hex"));
}

export async function* chunked(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function gzipped(bytes: Uint8Array): Buffer {
  return gzipSync(bytes);
}
