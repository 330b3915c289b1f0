import { createHash } from "node:crypto";
import { type BigIntStats, closeSync, constants, openSync, readSync } from "node:fs";
import { errnoOf } from "../../errors.js";
import type { FsPath } from "../root-names.js";

/** The attribute that holds a program's file capabilities. */
export const CAPABILITY = "security.capability";
const CHUNK = 1024 * 1024; // bytes

/** When a file had the content that its capabilities are for: the kernel takes them from a file that is written to. */
export interface ContentStamp {
  readonly mtimeNs: bigint;
  /** Hex. Absent: the time alone tells. */
  readonly contentSha256: string | undefined;
}

/** Of a regular file, which is read. */
export function stampContent(at: FsPath, { mtimeNs }: BigIntStats): ContentStamp {
  return { mtimeNs, contentSha256: hashOf(at) };
}

/** Whether nobody has written to a regular file since: programs that copy files set times last. */
export function hasContent(at: FsPath, stats: BigIntStats, stamp: ContentStamp): boolean {
  if (stats.mtimeNs === stamp.mtimeNs) return true;
  return stamp.contentSha256 !== undefined && hashOf(at) === stamp.contentSha256;
}

function hashOf(at: FsPath): string | undefined {
  try {
    // A step may put a pipe in its place meanwhile, which must hold up nobody.
    const fd = openSync(at, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const hash = createHash("sha256");
      const chunk = Buffer.allocUnsafe(CHUNK);
      for (let count = 0; (count = readSync(fd, chunk, 0, CHUNK, null)) > 0;) {
        hash.update(chunk.subarray(0, count));
      }
      return hash.digest("hex");
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (errnoOf(error) === "EACCES" || errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
