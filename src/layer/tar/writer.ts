import { TsbuildError } from "../../errors.js";
import type { FileType } from "../../oci/tree.js";
import { encodeName } from "../path-bytes.js";
import { BLOCK } from "./header.js";
import { formatTimeNs, writeOctal } from "./numbers.js";
import { paxRecord, xattrKey } from "./pax.js";

/** What a header says. A directory's name may lack its slash: the writer adds it. */
export interface TarHeader {
  readonly path: string;
  readonly type: FileType;
  /** 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Bytes that follow; 0 unless `type` is "file". */
  readonly size: number;
  readonly linkTarget?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

const FLAGS: Readonly<Record<FileType, string | undefined>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
  socket: undefined,
};
const MAX_OCTAL_7 = 0o7777777;
const MAX_OCTAL_11 = 0o77777777777;
const PAX_NAME = Buffer.from("PaxHeaders.0");
const EMPTY = Buffer.alloc(0);

/** The end of an archive: two zero blocks. */
export const TRAILER: Uint8Array = new Uint8Array(2 * BLOCK);

/** Zeros that a body of `size` bytes is followed by. */
export function bodyPadding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/**
 * The bytes of an entry's header: ustar, preceded by a PAX extended header only when something does not fit (long or
 * non-ASCII names, large numbers, fractions of a second, xattrs). The same entry gives the same bytes everywhere: no
 * user or group names, xattrs in the order of their names.
 * @param scratch 512 bytes that the result may be in: a million headers of their own would wait for the garbage collector.
 * @throws TsbuildError STORE_FAILED for what no archive can hold.
 */
export function tarHeader(entry: TarHeader, scratch?: Buffer): Uint8Array {
  const flag = FLAGS[entry.type];
  if (flag === undefined) throw refuse(entry, "a socket has no place in an archive");
  const records: Buffer[] = [];
  const slash = entry.type === "directory" && !entry.path.endsWith("/");
  const name = encodeName(slash ? `${entry.path}/` : entry.path);
  const link = entry.linkTarget === undefined ? EMPTY : encodeName(entry.linkTarget);
  if (name.includes(0) || link.includes(0)) throw refuse(entry, "its name holds a NUL");
  const split = splitName(name);
  if (split === undefined) records.push(paxRecord("path", name));
  if (link.length > 100 || !isAscii(link)) records.push(paxRecord("linkpath", link));
  addNumbers(records, entry);
  addXattrs(records, entry);
  if (records.length === 0) return ustarBlock(entry, flag, split ?? [EMPTY, name], link, scratch);
  const body = Buffer.concat(records);
  const out = Buffer.alloc(BLOCK + body.length + bodyPadding(body.length) + BLOCK);
  const extension = {
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeNs: 0n,
    size: body.length,
  } as const;
  out.set(ustarBlock(extension, "x", [EMPTY, PAX_NAME], EMPTY), 0);
  out.set(body, BLOCK);
  out.set(ustarBlock(entry, flag, split ?? [EMPTY, name], link), out.length - BLOCK);
  return out;
}

function addNumbers(records: Buffer[], entry: TarHeader): void {
  const put = (key: string, value: string): void => {
    records.push(paxRecord(key, Buffer.from(value)));
  };
  if (entry.size > MAX_OCTAL_11) put("size", String(entry.size));
  if (entry.uid > MAX_OCTAL_7) put("uid", String(entry.uid));
  if (entry.gid > MAX_OCTAL_7) put("gid", String(entry.gid));
  const seconds = Number(entry.mtimeNs / 1_000_000_000n);
  if (seconds < 0 || seconds > MAX_OCTAL_11 || entry.mtimeNs % 1_000_000_000n !== 0n) {
    put("mtime", formatTimeNs(entry.mtimeNs));
  }
}

function addXattrs(records: Buffer[], entry: TarHeader): void {
  if (entry.xattrs.size === 0) return;
  const names = [...entry.xattrs.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  for (const name of names) {
    const value = entry.xattrs.get(name);
    if (value === undefined) continue;
    if (name === "" || name.includes("="))
      throw refuse(entry, `its extended attribute "${name}" cannot be written`);
    records.push(paxRecord(xattrKey(name), value));
  }
}

type BlockFields = Omit<TarHeader, "path" | "linkTarget" | "xattrs">;

/** Numbers that do not fit are left 0: a PAX record says them. */
function ustarBlock(
  entry: BlockFields,
  flag: string,
  name: readonly [Uint8Array, Uint8Array],
  link: Uint8Array,
  scratch: Buffer = Buffer.allocUnsafe(BLOCK),
): Buffer {
  const block = scratch.fill(0);
  block.set(name[1].subarray(0, 100), 0);
  writeOctal(block, 100, 8, entry.mode & 0o7777);
  writeOctal(block, 108, 8, entry.uid > MAX_OCTAL_7 ? 0 : entry.uid);
  writeOctal(block, 116, 8, entry.gid > MAX_OCTAL_7 ? 0 : entry.gid);
  writeOctal(block, 124, 12, entry.size > MAX_OCTAL_11 ? 0 : entry.size);
  const seconds = Number(entry.mtimeNs / 1_000_000_000n);
  writeOctal(block, 136, 12, seconds < 0 || seconds > MAX_OCTAL_11 ? 0 : seconds);
  block[156] = flag.charCodeAt(0);
  block.set(link.subarray(0, 100), 157);
  block.write("ustar\x0000", 257, "latin1");
  writeOctal(block, 329, 8, Math.min(entry.devMajor ?? 0, MAX_OCTAL_7));
  writeOctal(block, 337, 8, Math.min(entry.devMinor ?? 0, MAX_OCTAL_7));
  block.set(name[0], 345);
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) sum += block[i] ?? 0;
  writeOctal(block, 148, 7, sum);
  block[155] = 0x20;
  return block;
}

/** Prefix and name as ustar holds them; `undefined` when they do not fit or are not ASCII. */
function splitName(name: Buffer): readonly [Uint8Array, Uint8Array] | undefined {
  if (!isAscii(name)) return undefined;
  if (name.length <= 100) return [EMPTY, name];
  if (name.length > 256) return undefined;
  // The last slash that leaves a non-empty name of at most 100 bytes behind it.
  for (let at = name.length - 101; at < name.length - 1; at++) {
    if (at > 155) return undefined;
    if (at > 0 && name[at] === 0x2f) return [name.subarray(0, at), name.subarray(at + 1)];
  }
  return undefined;
}

function isAscii(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if ((bytes[i] ?? 0) >= 0x80) return false;
  return true;
}

function refuse(entry: TarHeader, because: string): TsbuildError {
  return new TsbuildError(
    "STORE_FAILED",
    `tried to write "${entry.path}" into an archive: ${because}`,
  );
}
