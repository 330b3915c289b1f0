import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { diffIdFromHex, digestOf, hexOf } from "../../src/oci/digest.js";
import { scratchImage, serializeImage } from "../../src/oci/image.js";
import { layerMediaType } from "../../src/oci/media-types.js";
import type { Compression, ImageFormat } from "../../src/oci/types.js";
import type { OutputImage } from "../../src/store/index.js";
import { withConfig, withLayer } from "../support/image-steps.js";

/** The bytes of a tar with these files, made by tar itself. */
export function tarOf(files: Readonly<Record<string, string>>): Buffer {
  const directory = mkdtempSync(join(tmpdir(), "tsbuild-tar-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(directory, name, ".."), { recursive: true });
      writeFileSync(join(directory, name), content);
    }
    return execFileSync("tar", ["--mtime=@0", "-cC", directory, "."], { maxBuffer: 1 << 28 });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A small image with a layer for each tar, and the blobs by their digests. */
export function outputImage(
  tars: readonly Buffer[],
  format: ImageFormat,
  compression: Compression = "gzip",
): OutputImage {
  let image = { ...scratchImage({ os: "linux", architecture: "amd64" }), format };
  image = { ...withConfig(image, { cmd: ["/bin/true"], labels: { a: "b" } }), format };
  const blobs = tars.map((tar) => {
    const bytes = compression === "gzip" ? gzipSync(tar) : tar;
    const descriptor = {
      mediaType: layerMediaType(format, compression),
      digest: digestOf(bytes),
      size: bytes.byteLength,
    };
    const diffId = diffIdFromHex(hexOf(digestOf(tar)));
    const history = { created: "2024-01-02T03:04:05Z", createdBy: "COPY . /" };
    image = { ...withLayer(image, { descriptor, diffId }, history), format };
    async function* open(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.byteLength; at += 50_000) yield bytes.subarray(at, at + 50_000);
    }
    return { descriptor, open };
  });
  return { ...serializeImage(image), layers: blobs, platform: image.config.platform };
}

/** Whether a program is installed. */
export function hasTool(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((directory) => {
    try {
      return readFileSync(join(directory, name)).byteLength > 0;
    } catch {
      return false;
    }
  });
}
