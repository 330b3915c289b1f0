import {
  type BigIntStats,
  constants,
  openSync,
  closeSync,
  lstatSync,
  readSync,
  readlinkSync,
} from "node:fs";
import { errnoOf } from "../errors.js";
import { parentOf } from "../layer/entry-path.js";
import type { FileEntry, FileReader, FileType } from "../layer/types.js";
import { decodeName } from "../layer/path-bytes.js";
import type { FsPath } from "./root-names.js";

const MODE_BITS = 0o7777;
const { O_RDONLY, O_NOFOLLOW } = constants;

/** What of a `Stats` tells the type: both forms of it do. */
interface TypedStats {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isCharacterDevice(): boolean;
  isBlockDevice(): boolean;
  isFIFO(): boolean;
}

/** Never "hardlink": each name of a file is the file. */
export function typeOfStats(stats: TypedStats): FileType {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  if (stats.isSymbolicLink()) return "symlink";
  if (stats.isCharacterDevice()) return "char";
  if (stats.isBlockDevice()) return "block";
  return stats.isFIFO() ? "fifo" : "socket";
}

/** A layer's entry for what stands at `at`. Files with several names in the filesystem get a link group. */
export function liveEntry(
  at: FsPath,
  stats: BigIntStats,
  xattrs: ReadonlyMap<string, Uint8Array>,
): FileEntry {
  const type = typeOfStats(stats);
  const shared = {
    type,
    mode: Number(stats.mode) & MODE_BITS,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    mtimeNs: stats.mtimeNs,
    size: type === "file" ? Number(stats.size) : 0,
    xattrs,
    ...(type !== "directory" && stats.nlink > 1n ? { linkGroup: `${stats.dev}:${stats.ino}` } : {}),
  };
  switch (type) {
    case "file":
      return { ...shared, open: () => openReader(at) };
    case "symlink":
      return { ...shared, linkTarget: decodeName(readlinkSync(at, "buffer")) };
    case "char":
    case "block":
      return { ...shared, devMajor: major(stats.rdev), devMinor: minor(stats.rdev) };
    case "directory":
    case "hardlink":
    case "fifo":
    case "socket":
      return shared;
  }
}

function openReader(at: FsPath): FileReader {
  const fd = openSync(at, O_RDONLY | O_NOFOLLOW);
  return {
    read(into) {
      let done = 0;
      while (done < into.length) {
        const count = readSync(fd, into, done, into.length - done, null);
        if (count === 0) break;
        done += count;
      }
      return done;
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** The C library's encoding of device numbers, which lstat gives. */
function major(device: bigint): number {
  return Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn));
}

function minor(device: bigint): number {
  return Number((device & 0xffn) | ((device >> 12n) & ~0xffn));
}

/** Whether every directory above `path` is one, and no symlink to one. */
export function hasRealParents(path: string, at: (path: string) => FsPath): boolean {
  for (let parent = parentOf(path); parent !== ""; parent = parentOf(parent)) {
    try {
      if (!lstatSync(at(parent)).isDirectory()) return false;
    } catch (error) {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return false;
      throw error;
    }
  }
  return true;
}
