import { ByteLog } from "../../internal/byte-log.js";
import type { SpillFile } from "../../internal/spill-file.js";
import { decodeName, encodeName } from "../../layer/index.js";
import type { FileEntry, FileType } from "../../oci/tree.js";

const RESIDENT = 1024 * 1024; // bytes
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const TYPES: readonly FileType[] = [
  "directory",
  "file",
  "symlink",
  "hardlink",
  "char",
  "block",
  "fifo",
  "socket",
];

/** An entry of an archive. */
export interface LoggedEntry {
  /** As the archive has it: perhaps absolute, perhaps with `..`. */
  readonly name: string;
  /** Without its content. */
  readonly entry: Omit<FileEntry, "open" | "linkGroup">;
  /** Where the content is, in the keeper's own terms. */
  readonly content: number;
  /** 0: it has one name. */
  readonly linkGroup: number;
  /** Made from the archive's entries, and not one of them. */
  readonly made: boolean;
}

/** Offsets in a record. Behind it: name, link target, then each extended attribute as two lengths, name and value. */
const FIELD = {
  /** Of all of it. */
  length: 0,
  type: 4,
  made: 5,
  mode: 6,
  uid: 8,
  gid: 12,
  mtimeNanoseconds: 16,
  linkGroup: 20,
  mtimeSeconds: 24,
  size: 32,
  content: 40,
  devMajor: 48,
  devMinor: 52,
  nameLength: 56,
  linkLength: 60,
  xattrs: 64,
} as const;
const HEAD = 68; // bytes
const MAX_32 = 0xffff_ffff;

/** Entries one after the other, each known by its place. Memory is bounded, however many they are. */
export class EntryLog {
  readonly #bytes: ByteLog;
  readonly #head: Buffer = Buffer.alloc(HEAD);
  readonly #lengthBytes: Buffer = Buffer.alloc(4);
  /** Entries that are longer are few, or buffers of their own are the least of their cost. */
  readonly #scratch: Buffer = Buffer.alloc(4096);

  /** @param spill Stays the caller's. */
  constructor(spill: SpillFile) {
    this.#bytes = new ByteLog(spill, RESIDENT);
  }

  /** Where the next one will be. */
  get end(): number {
    return this.#bytes.length;
  }

  /** @returns its place */
  add({ name, entry, content, linkGroup, made }: LoggedEntry): number {
    const nameBytes = encodeName(name);
    const link = encodeName(entry.linkTarget ?? "");
    const parts = [this.#head, nameBytes, link];
    for (const [key, value] of entry.xattrs) {
      const keyBytes = encodeName(key);
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32LE(keyBytes.length, 0);
      lengths.writeUInt32LE(value.length, 4);
      parts.push(lengths, keyBytes, Buffer.from(value));
    }
    const head = this.#head;
    const nanoseconds = ((entry.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    head.writeUInt32LE(
      parts.reduce((sum, part) => sum + part.length, 0),
      FIELD.length,
    );
    head[FIELD.type] = TYPES.indexOf(entry.type);
    head[FIELD.made] = made ? 1 : 0;
    head.writeUInt16LE(entry.mode, FIELD.mode);
    head.writeUInt32LE(entry.uid, FIELD.uid);
    head.writeUInt32LE(entry.gid, FIELD.gid);
    head.writeUInt32LE(Number(nanoseconds), FIELD.mtimeNanoseconds);
    head.writeUInt32LE(linkGroup, FIELD.linkGroup);
    const seconds = Number((entry.mtimeNs - nanoseconds) / 1_000_000_000n);
    head.writeDoubleLE(seconds, FIELD.mtimeSeconds);
    head.writeDoubleLE(entry.size, FIELD.size);
    head.writeDoubleLE(content, FIELD.content);
    head.writeUInt32LE(Math.min(entry.devMajor ?? 0, MAX_32), FIELD.devMajor);
    head.writeUInt32LE(Math.min(entry.devMinor ?? 0, MAX_32), FIELD.devMinor);
    head.writeUInt32LE(nameBytes.length, FIELD.nameLength);
    head.writeUInt32LE(link.length, FIELD.linkLength);
    head.writeUInt32LE(entry.xattrs.size, FIELD.xattrs);
    const place = this.#bytes.length;
    for (const part of parts) this.#bytes.append(part);
    return place;
  }

  at(place: number): LoggedEntry {
    const length = this.#length(place);
    const bytes =
      length > this.#scratch.length
        ? Buffer.allocUnsafe(length)
        : this.#scratch.subarray(0, length);
    this.#bytes.readInto(bytes, place);
    const nameEnd = HEAD + bytes.readUInt32LE(FIELD.nameLength);
    const linkEnd = nameEnd + bytes.readUInt32LE(FIELD.linkLength);
    const type = TYPES[bytes[FIELD.type] ?? 0] ?? "file";
    const seconds = BigInt(bytes.readDoubleLE(FIELD.mtimeSeconds));
    const entry = {
      type,
      mode: bytes.readUInt16LE(FIELD.mode),
      uid: bytes.readUInt32LE(FIELD.uid),
      gid: bytes.readUInt32LE(FIELD.gid),
      mtimeNs: seconds * 1_000_000_000n + BigInt(bytes.readUInt32LE(FIELD.mtimeNanoseconds)),
      size: bytes.readDoubleLE(FIELD.size),
      xattrs: xattrsIn(bytes, linkEnd),
      ...(type === "symlink" || type === "hardlink"
        ? { linkTarget: decodeName(bytes.subarray(nameEnd, linkEnd)) }
        : {}),
      ...(type === "char" || type === "block"
        ? {
            devMajor: bytes.readUInt32LE(FIELD.devMajor),
            devMinor: bytes.readUInt32LE(FIELD.devMinor),
          }
        : {}),
    };
    return {
      name: decodeName(bytes.subarray(HEAD, nameEnd)),
      entry,
      content: bytes.readDoubleLE(FIELD.content),
      linkGroup: bytes.readUInt32LE(FIELD.linkGroup),
      made: bytes[FIELD.made] === 1,
    };
  }

  /** The places up to one, in their order. What is added meanwhile is not among them. */
  *places(end: number): Generator<number, void, void> {
    for (let place = 0; place < end; place += this.#length(place)) yield place;
  }

  #length(place: number): number {
    this.#bytes.readInto(this.#lengthBytes, place);
    return this.#lengthBytes.readUInt32LE();
  }
}

function xattrsIn(bytes: Buffer, start: number): ReadonlyMap<string, Uint8Array> {
  const count = bytes.readUInt32LE(FIELD.xattrs);
  if (count === 0) return NO_XATTRS;
  const found = new Map<string, Uint8Array>();
  let at = start;
  for (let i = 0; i < count; i++) {
    const value = at + 8 + bytes.readUInt32LE(at);
    const end = value + bytes.readUInt32LE(at + 4);
    found.set(decodeName(bytes.subarray(at + 8, value)), Buffer.from(bytes.subarray(value, end)));
    at = end;
  }
  return found;
}
