/**
 * A second, small tar reader and writer for the tests. It shares no line with `src/layer/tar`, so that one judges
 * the other. The writer puts whatever ustar cannot hold into pax records; the reader knows ustar, pax and GNU names.
 */
export type TarType =
  "file" | "hardlink" | "symlink" | "char" | "block" | "dir" | "fifo" | "unknown";

export interface TarEntry {
  readonly name: string;
  readonly type: TarType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds, with the pax fraction where there is one. */
  readonly mtime: number;
  readonly linkname: string;
  readonly major: number;
  readonly minor: number;
  readonly data: Buffer;
  /** Extended attributes by their full names, bytes as they are. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

export type TarInput = Partial<Omit<TarEntry, "name" | "data">> & {
  readonly name: string;
  readonly data?: string | Uint8Array;
};

const BLOCK = 512;
const FLAGS: Record<Exclude<TarType, "unknown">, string> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  char: "3",
  block: "4",
  dir: "5",
  fifo: "6",
};
const TYPES: Readonly<Record<string, TarType>> = {
  "\0": "file",
  "7": "file",
  ...Object.fromEntries(Object.entries(FLAGS).map(([type, flag]) => [flag, type as TarType])),
};

/** Packs entries in the given order. */
export function writeTar(entries: readonly TarInput[]): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const pax = paxRecords(entry);
    if (pax.length > 0) {
      parts.push(header("PaxHeaders/x", "x", { mode: 0o644 }, pax.length), padded(pax));
    }
    const data = Buffer.from(entry.data ?? "");
    const type = entry.type ?? "file";
    const flag = type === "unknown" ? "0" : FLAGS[type];
    parts.push(header(entry.name, flag, entry, data.length), padded(data));
  }
  parts.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(parts);
}

function paxRecords(entry: TarInput): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Uint8Array): void => {
    records.push(paxRecord(key, Buffer.from(value)));
  };
  if (Buffer.byteLength(entry.name) > 100) add("path", entry.name);
  if (Buffer.byteLength(entry.linkname ?? "") > 100) add("linkpath", entry.linkname ?? "");
  if ((entry.uid ?? 0) > 0o7777777) add("uid", String(entry.uid));
  if ((entry.gid ?? 0) > 0o7777777) add("gid", String(entry.gid));
  if (!Number.isInteger(entry.mtime ?? 0)) add("mtime", String(entry.mtime));
  for (const [key, value] of entry.xattrs ?? []) add(`SCHILY.xattr.${key}`, value);
  return Buffer.concat(records);
}

function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3; // the space, "=" and the newline
  let length = rest + 1;
  while (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from("\n")]);
}

function header(name: string, flag: string, entry: Partial<TarInput>, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at, "latin1");
  };
  Buffer.from(name).copy(block, 0, 0, 100);
  octal(entry.mode ?? 0o644, 100, 8);
  octal(Math.min(entry.uid ?? 0, 0o7777777), 108, 8);
  octal(Math.min(entry.gid ?? 0, 0o7777777), 116, 8);
  octal(size, 124, 12);
  octal(Math.floor(entry.mtime ?? 0), 136, 12);
  block.write(" ".repeat(8) + flag, 148, "latin1");
  Buffer.from(entry.linkname ?? "").copy(block, 157, 0, 100);
  block.write("ustar\x0000", 257, "latin1");
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

/** Every entry of an uncompressed archive. Throws on a bad checksum or a cut archive. */
export function readTar(archive: Buffer): TarEntry[] {
  const entries: TarEntry[] = [];
  let pax = new Map<string, Buffer>();
  let at = 0;
  while (at + BLOCK <= archive.length) {
    const block = archive.subarray(at, at + BLOCK);
    at += BLOCK;
    if (block.every((byte) => byte === 0)) continue;
    checkSum(block, at - BLOCK);
    const flag = String.fromCharCode(block[156] ?? 0);
    const size = Number(pax.get("size")?.toString() ?? number(block, 124, 12));
    if (at + size > archive.length) throw new Error(`archive ends inside the entry at ${at}`);
    const data = archive.subarray(at, at + size);
    at += Math.ceil(size / BLOCK) * BLOCK;
    if (flag === "x") readPax(data, pax);
    else if (flag === "g") continue;
    else if (flag === "L") pax.set("path", withoutNul(data));
    else if (flag === "K") pax.set("linkpath", withoutNul(data));
    else {
      entries.push(entryOf(block, flag, data, pax));
      pax = new Map();
    }
  }
  return entries;
}

function entryOf(
  block: Buffer,
  flag: string,
  data: Buffer,
  pax: ReadonlyMap<string, Buffer>,
): TarEntry {
  const prefix = text(block, 345, 155);
  const ustarName = prefix === "" ? text(block, 0, 100) : `${prefix}/${text(block, 0, 100)}`;
  const word = (key: string, fallback: string | number): string =>
    pax.get(key)?.toString("utf8") ?? String(fallback);
  const xattrs = new Map<string, Buffer>();
  for (const [key, value] of pax) {
    if (key.startsWith("SCHILY.xattr.")) xattrs.set(key.slice("SCHILY.xattr.".length), value);
  }
  return {
    name: word("path", ustarName),
    type: TYPES[flag] ?? "unknown",
    mode: number(block, 100, 8),
    uid: Number(word("uid", number(block, 108, 8))),
    gid: Number(word("gid", number(block, 116, 8))),
    mtime: Number(word("mtime", number(block, 136, 12))),
    linkname: word("linkpath", text(block, 157, 100)),
    major: number(block, 329, 8),
    minor: number(block, 337, 8),
    data,
    xattrs,
  };
}

function readPax(data: Buffer, into: Map<string, Buffer>): void {
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const length = Number(data.subarray(at, space).toString());
    if (space < 0 || !(length > 0)) throw new Error("bad pax record");
    const equals = data.indexOf(0x3d, space);
    const key = data.subarray(space + 1, equals).toString("utf8");
    into.set(key, data.subarray(equals + 1, at + length - 1));
    at += length;
  }
}

function checkSum(block: Buffer, at: number): void {
  const stored = number(block, 148, 8);
  const sum = block.reduce(
    (total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte),
    0,
  );
  if (sum !== stored) throw new Error(`bad checksum of the header at ${at}`);
}

function number(block: Buffer, at: number, width: number): number {
  if (((block[at] ?? 0) & 0x80) !== 0) {
    let value = BigInt((block[at] ?? 0) & 0x7f);
    for (let i = 1; i < width; i++) value = (value << 8n) | BigInt(block[at + i] ?? 0);
    return Number(value);
  }
  const digits = text(block, at, width).trim();
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function text(block: Buffer, at: number, width: number): string {
  const field = block.subarray(at, at + width);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? width : end).toString("utf8");
}

function withoutNul(data: Buffer): Buffer {
  const end = data.indexOf(0);
  return end < 0 ? data : data.subarray(0, end);
}
