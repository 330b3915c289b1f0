import type { Compression } from "../../oci/types.js";

/** What an archive that ADD unpacks may be compressed with, besides what layers are. */
export type ArchiveCompression = Compression | "bzip2" | "xz";

/** Bytes that {@link sniffCompression} looks at. */
export const SNIFF_LENGTH = 6;

const MAGICS: readonly (readonly [ArchiveCompression, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["bzip2", [0x42, 0x5a, 0x68]],
];

/** By the first bytes of a file; "none" when they are no magic number known. */
export function sniffCompression(firstBytes: Uint8Array): ArchiveCompression {
  for (const [compression, magic] of MAGICS) {
    if (magic.every((byte, i) => firstBytes[i] === byte)) return compression;
  }
  return "none";
}
