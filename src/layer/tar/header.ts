import type { FileType } from "../../oci/tree.js";
import { decodeName } from "../path-bytes.js";
import { fieldBytes, readNumber } from "./numbers.js";

export const BLOCK = 512;

/** The fields of one 512-byte header, before PAX records and long names. */
export interface RawHeader {
  readonly flag: string;
  name: Uint8Array;
  linkName: Uint8Array;
  readonly mode: number;
  uid: number;
  gid: number;
  size: number;
  mtimeNs: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** What a type flag stands for: a kind of file, more about the next entry, or something to pass over. */
export type FlagMeaning =
  | FileType
  | "pax"
  | "pax-global"
  | "gnu-long-name"
  | "gnu-long-link"
  | "gnu-sparse"
  | "volume-label"
  | "unknown";

export function meaningOf(flag: string): FlagMeaning {
  switch (flag) {
    case "\0":
    case "0":
    case "7":
      return "file";
    case "1":
      return "hardlink";
    case "2":
      return "symlink";
    case "3":
      return "char";
    case "4":
      return "block";
    // GNU's dump directory: its body lists names, and is passed over.
    case "5":
    case "D":
      return "directory";
    case "6":
      return "fifo";
    case "x":
    case "X":
      return "pax";
    case "g":
      return "pax-global";
    case "L":
      return "gnu-long-name";
    case "K":
      return "gnu-long-link";
    case "S":
      return "gnu-sparse";
    case "V":
      return "volume-label";
    default:
      return "unknown";
  }
}

/**
 * Reads a header block: v7, ustar with its prefix, GNU with base-256 numbers. A text is why it is none.
 * The block may be reused afterwards: names are copied.
 */
export function parseHeader(block: Uint8Array): RawHeader | string {
  if (!checksumMatches(block)) return "the header's checksum is wrong";
  const mode = readNumber(block, 100, 8);
  const uid = readNumber(block, 108, 8);
  const gid = readNumber(block, 116, 8);
  const size = readNumber(block, 124, 12);
  const mtime = readNumber(block, 136, 12);
  const ustar = block[257] === 0x75 && block[258] === 0x73 && block[259] === 0x74;
  const devMajor = ustar ? readNumber(block, 329, 8) : 0;
  const devMinor = ustar ? readNumber(block, 337, 8) : 0;
  if (mode === undefined || size === undefined || mtime === undefined || size < 0)
    return "a number in the header is malformed";
  if (uid === undefined || gid === undefined || uid < 0 || gid < 0)
    return "an owner in the header is malformed";
  return {
    flag: String.fromCharCode(block[156] ?? 0),
    name: fullName(block, ustar && block[262] === 0x00 && block[263] === 0x30),
    linkName: Buffer.from(fieldBytes(block, 157, 100)),
    mode: mode & 0o7777,
    uid,
    gid,
    size,
    mtimeNs: BigInt(mtime) * 1_000_000_000n,
    devMajor: Math.max(0, devMajor ?? 0),
    devMinor: Math.max(0, devMinor ?? 0),
  };
}

export function isZero(block: Uint8Array): boolean {
  for (let i = 0; i < BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** For messages: what a broken header calls itself. */
export function nameForMessage(block: Uint8Array): string {
  return decodeName(fieldBytes(block, 0, 100));
}

/** POSIX ustar splits long names at a slash; GNU's magic ("ustar  ") keeps times where the prefix would be. */
function fullName(block: Uint8Array, posix: boolean): Uint8Array {
  const name = fieldBytes(block, 0, 100);
  if (!posix || block[345] === 0) return Buffer.from(name);
  return Buffer.concat([fieldBytes(block, 345, 155), Buffer.of(0x2f), name]);
}

/** The sum counts its own field as spaces; some old writers summed signed bytes. */
function checksumMatches(block: Uint8Array): boolean {
  const stored = readNumber(block, 148, 8);
  let sum = 8 * 0x20;
  let high = 0;
  for (let i = 0; i < BLOCK; i++) {
    if (i === 148) i = 156;
    const byte = block[i] ?? 0;
    sum += byte;
    high += byte >> 7;
  }
  return stored === sum || stored === sum - 256 * high;
}
