import type { FileType } from "../../oci/tree.js";

/**
 * What of EROFS's on-disk format is used here (Linux, Documentation/filesystems/erofs.rst): little-endian, blocks as small
 * as a tar's, so that files lie in the tar where they are, as the blocks of a second device.
 */
export const BLOCK = 512; // bytes
export const BLOCK_BITS = 9;

/** Bytes. The superblock, behind it the table with the one other device, then inodes from {@link INODES_AT}. */
export const SUPER_AT = 1024;
export const SUPER_SIZE = 128;
export const SLOT_SIZE = 128;
export const SLOT_AT: number = SUPER_AT + SUPER_SIZE;
export const INODES_AT = 1536;

export const MAGIC = 0xe0f5e1e2;
/** In the superblock's volume name: who reads it, and the version of how we write. Another one is made anew. */
export const VOLUME_NAME = "tsbuild-1";
/** Inodes have times. */
export const COMPAT_MTIME = 0x2;
export const INCOMPAT_DEVICE_TABLE = 0x8;

/** Offsets in the superblock. */
export const SUPER = {
  magic: 0,
  compat: 8,
  blockBits: 12,
  rootNid: 14,
  inodes: 16,
  blocks: 36,
  uuid: 48,
  volumeName: 64,
  incompat: 80,
  devices: 86,
  deviceTable: 88,
} as const;

/** Offsets in a device's slot. */
export const SLOT = { tag: 0, blocks: 64, firstBlock: 68 } as const;
export const TAG_SIZE = 64; // bytes

/** Inodes are numbered by their places, in units of this. */
export const NID_UNIT = 32; // bytes
export const INODE_SIZE = 64; // bytes
/** The inode is the long form; `INLINE`: the end of its data follows it, within one block. */
export const EXTENDED_PLAIN = 0x1;
export const EXTENDED_INLINE = 0x5;

/** Offsets in an inode. */
export const INODE = {
  format: 0,
  xattrWords: 2,
  mode: 4,
  size: 8,
  /** Of files, directories and symlinks the first block; of devices their number. */
  place: 16,
  number: 20,
  uid: 24,
  gid: 28,
  mtimeSeconds: 32,
  mtimeNanoseconds: 40,
  links: 44,
} as const;

export const XATTR_HEAD_SIZE = 12; // bytes
export const XATTR_ENTRY_SIZE = 4; // bytes
/** Names of attributes are kept without their prefix; the first that fits counts. */
export const XATTR_PREFIXES: readonly (readonly [prefix: string, code: number])[] = [
  ["user.", 1],
  ["system.posix_acl_access", 2],
  ["system.posix_acl_default", 3],
  ["trusted.", 4],
  ["security.", 6],
];

export const DIRENT_SIZE = 12; // bytes

/** What an entry becomes: the type in its mode, and in its directory. A whiteout is the character device 0/0. */
export const FILE_TYPES: Readonly<
  Record<FileType | "whiteout", { readonly mode: number; readonly code: number }>
> = {
  file: { mode: 0o100000, code: 1 },
  hardlink: { mode: 0o100000, code: 1 },
  directory: { mode: 0o040000, code: 2 },
  char: { mode: 0o020000, code: 3 },
  whiteout: { mode: 0o020000, code: 3 },
  block: { mode: 0o060000, code: 4 },
  fifo: { mode: 0o010000, code: 5 },
  socket: { mode: 0o140000, code: 6 },
  symlink: { mode: 0o120000, code: 7 },
};

export function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}
