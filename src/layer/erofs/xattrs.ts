import type { FileType } from "../../oci/tree.js";
import { encodeName } from "../path-bytes.js";
import { roundUp, XATTR_ENTRY_SIZE, XATTR_HEAD_SIZE, XATTR_PREFIXES } from "./format.js";
import { Refusal } from "./refusal.js";

/** Linux's XATTR_NAME_MAX. */
const LONGEST_NAME = 255; // bytes
const LONGEST_VALUE = 0xffff; // bytes
/** Words of four bytes, the header being one: what the inode can count. */
const MOST_WORDS = 0xffff;
const NONE: Buffer = Buffer.alloc(0);

/** Attributes that no kernel would have let anybody set here: left out, as in unpacking. */
export function isSettable(name: string, type: FileType | "whiteout"): boolean {
  if (name.startsWith("user.")) return type === "file" || type === "directory";
  const prefix = XATTR_PREFIXES.find(([each]) => name.startsWith(each));
  if (prefix === undefined) return false;
  return prefix[0].endsWith(".") ? name.length > prefix[0].length : name === prefix[0];
}

/** What stands behind an inode: its attributes, names as they are on disk. @throws Refusal when they are too large */
export function encodeXattrs(xattrs: readonly (readonly [string, Uint8Array])[]): Buffer {
  if (xattrs.length === 0) return NONE;
  const entries = xattrs.map(([name, value]) => encodeXattr(name, value));
  const bytes = Buffer.concat([Buffer.alloc(XATTR_HEAD_SIZE), ...entries]);
  if (wordsOf(bytes) > MOST_WORDS) throw new Refusal("its extended attributes are too large");
  return bytes;
}

/** As the inode counts them. */
export function wordsOf(xattrs: Buffer): number {
  return xattrs.length === 0 ? 0 : (xattrs.length - XATTR_HEAD_SIZE) / 4 + 1;
}

function encodeXattr(name: string, value: Uint8Array): Buffer {
  const [prefix, code] = XATTR_PREFIXES.find(([each]) => name.startsWith(each)) ?? ["", 0];
  const rest = encodeName(name.slice(prefix.length));
  if (prefix.length + rest.length > LONGEST_NAME || value.length > LONGEST_VALUE)
    throw new Refusal(`its attribute ${name.slice(0, 100)} is too large`);
  const used = XATTR_ENTRY_SIZE + rest.length + value.length;
  const entry = Buffer.alloc(roundUp(used, 4));
  entry[0] = rest.length;
  entry[1] = code;
  entry.writeUInt16LE(value.length, 2);
  entry.set(rest, XATTR_ENTRY_SIZE);
  entry.set(value, XATTR_ENTRY_SIZE + rest.length);
  return entry;
}
