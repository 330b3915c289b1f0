import type { FileType } from "../oci/tree.js";

/**
 * The layout of a layer's index, little-endian: a header; one record a node, children of a directory side by side and
 * sorted by the bytes of their names, the root first; the names; an area of attributes that few entries have. A path
 * is found by a binary search in each directory on its way, and a listing is a slice.
 */

/** Names the format and its version: a new layout gets a new one, and old files count as damaged. */
export const MAGIC: Buffer = Buffer.from("tsbidx01", "latin1");
export const HEADER_SIZE = 96;
export const RECORD_SIZE = 56;

/** Offsets in the header. */
export const HEADER = {
  diffId: 8,
  uncompressedSize: 40,
  nodes: 48,
  namesLength: 52,
  attributesLength: 56,
  /** Entries that the tar holds. */
  entries: 60,
  /** Of everything behind the header. */
  crc32: 64,
} as const;

/** Offsets in a record. */
export const FIELD = {
  nameOffset: 0,
  nameLength: 4,
  type: 6,
  flags: 7,
  mode: 8,
  uid: 12,
  gid: 16,
  mtimeNanoseconds: 20,
  mtimeSeconds: 24,
  /** Of files; directories have `firstChild` and `children` there. */
  size: 32,
  firstChild: 32,
  children: 36,
  dataOffset: 40,
  /** One more than the offset of the attributes; 0 when there are none. */
  attributes: 48,
  /** 0: the file has no other name in this layer. */
  linkGroup: 52,
} as const;

/** The layer holds something below this directory, and not the directory itself. */
export const IMPLIED = 1;
/** What lower layers have in this directory is hidden; the directory itself may still be theirs. */
export const OPAQUE = 2;
/** A whiteout and an entry of one name: whatever lower layers have there is gone. */
export const REPLACES = 4;

export type NodeType = FileType | "whiteout";

/** By their codes in a record. */
export const NODE_TYPES: readonly NodeType[] = [
  "directory",
  "file",
  "symlink",
  "hardlink",
  "char",
  "block",
  "fifo",
  "socket",
  "whiteout",
];

/** Tags of the attribute area: tag, length as uint32, bytes; a 0 ends an entry's list. */
export const ATTRIBUTE = {
  end: 0,
  linkTarget: 1,
  /** Major and minor as uint32. */
  device: 2,
  /** Length of the name as uint16, name, value. */
  xattr: 3,
  /** Offsets and lengths as doubles. */
  sparse: 4,
  content: 5,
} as const;

/** Files whose bytes an index carries, so that `USER` and `--chown` need no layer. */
export const INLINE_PATHS: ReadonlySet<string> = new Set(["etc/passwd", "etc/group"]);
export const MAX_INLINE = 1048576; // bytes
