import { type ErrorCode, TsbuildError, unreachable } from "../../errors.js";
import type { FileType } from "../../oci/tree.js";
import { decodeName } from "../path-bytes.js";
import { BLOCK, type RawHeader, isZero, meaningOf, nameForMessage, parseHeader } from "./header.js";
import { type PaxRecord, applyPax, mergePax, parsePax, paxXattrs } from "./pax.js";
import {
  type SparseMap,
  SparseMapReader,
  SparseSpreader,
  gnuRealSize,
  isSound,
  readGnuPairs,
  readPaxSparse,
} from "./sparse.js";

/** One entry of an archive, its name as the archive has it (see `cleanPath`). */
export interface TarEntry {
  readonly path: string;
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Bytes of the file, holes included; 0 unless `type` is "file". */
  readonly size: number;
  readonly linkTarget: string;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** Where the stored bytes begin in the archive. */
  readonly dataOffset: number;
  /** Absent: the file is stored whole. */
  readonly sparse?: SparseMap;
}

/** Hears an archive in its order. Chunks are only valid during the call. */
export interface TarHandler {
  entry(entry: TarEntry): void;
  /** The next bytes of the file that `entry` announced. */
  data(chunk: Uint8Array): void;
  /** The next `bytes` of the file are zeros that the archive does not store. */
  hole(bytes: number): void;
  /** The file is complete. Only after files, empty ones too. */
  end(): void;
  /** An entry that is no file was passed over. */
  skipped(name: string, reason: string): void;
}

export interface TarReaderOptions {
  /** For messages: "the layer sha256:...". */
  readonly what: string;
  /** Of the errors thrown; STORE_FAILED when absent. */
  readonly code?: ErrorCode;
}

/** Long names and PAX headers: what Go's reader accepts too. */
const MAX_META = 1 << 20; // bytes
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const MAX_ID = 0xffff_ffff;

type State =
  "header" | "meta" | "sparse-blocks" | "sparse-map" | "data" | "skip" | "one-zero" | "end";

/**
 * A push parser: v7, ustar, GNU and PAX archives, sparse files expanded. Copies no file data.
 * As GNU tar and Go do, it accepts an archive that ends between two entries without the closing zero blocks.
 * @throws TsbuildError with the entry's name when the archive is truncated, malformed or holds an unknown type.
 */
export class TarReader {
  readonly #handler: TarHandler;
  readonly #options: TarReaderOptions;
  /** Collects headers and meta bodies that are split over chunks. */
  readonly #block: Buffer = Buffer.alloc(BLOCK);
  #filled = 0;
  #state: State = "header";
  #offset = 0;

  #raw: RawHeader | undefined;
  #name = "";
  #meta: Buffer = Buffer.alloc(0);
  #global: readonly PaxRecord[] = [];
  #pax: readonly PaxRecord[] = [];
  #longName: Uint8Array | undefined;
  #longLink: Uint8Array | undefined;

  #gnuPairs: number[] = [];
  #realSize = 0;
  #mapReader: SparseMapReader | undefined;
  /** Stored bytes still to come, and the padding after them. */
  #remaining = 0;
  #padding = 0;
  #spreader: SparseSpreader | undefined;

  constructor(handler: TarHandler, options: TarReaderOptions) {
    this.#handler = handler;
    this.#options = options;
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset;
  }

  write(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      const before = at;
      if (this.#state === "data" && this.#remaining > 0) at = this.#takeData(chunk, at);
      else if (this.#state === "data" || this.#state === "skip") at = this.#pass(chunk, at);
      else if (this.#state === "meta") at = this.#takeMeta(chunk, at);
      else if (this.#state === "end") at = chunk.length;
      else at = this.#takeBlock(chunk, at);
      this.#offset += at - before;
    }
  }

  /** Call after the last byte. */
  finish(): void {
    const between = this.#state === "header" && this.#filled === 0 && !this.#hasMeta();
    if (between || this.#state === "one-zero" || this.#state === "end") return;
    throw this.#error("the archive ends in the middle of an entry");
  }

  /** An extended header has told the name of the entry that comes. */
  #isNamed(): boolean {
    return this.#longName !== undefined || this.#pax.some((record) => record.key === "path");
  }

  #hasMeta(): boolean {
    return this.#longName !== undefined || this.#longLink !== undefined || this.#pax.length > 0;
  }

  /** Gives one whole 512-byte block to the state that wants it, without a copy where it lies in one chunk. */
  #takeBlock(chunk: Uint8Array, at: number): number {
    if (this.#filled === 0 && chunk.length - at >= BLOCK) {
      this.#onBlock(chunk.subarray(at, at + BLOCK), this.#offset + BLOCK);
      return at + BLOCK;
    }
    const take = Math.min(BLOCK - this.#filled, chunk.length - at);
    this.#block.set(chunk.subarray(at, at + take), this.#filled);
    this.#filled += take;
    if (this.#filled === BLOCK) {
      this.#filled = 0;
      this.#onBlock(this.#block, this.#offset + take);
    }
    return at + take;
  }

  #onBlock(block: Uint8Array, end: number): void {
    if (this.#state === "sparse-blocks") return this.#onSparseBlock(block, end);
    if (this.#state === "sparse-map") return this.#onMapBlock(block, end);
    if (this.#state === "header") return this.#onHeader(block, end);
    if (!isZero(block)) throw this.#error("a zero block is followed by more");
    this.#state = "end";
  }

  #onHeader(block: Uint8Array, end: number): void {
    if (block[0] === 0 && isZero(block)) {
      if (this.#hasMeta()) throw this.#error("the archive ends in the middle of an entry");
      this.#state = "one-zero";
      return;
    }
    const raw = parseHeader(block);
    if (typeof raw === "string") {
      // What the entry before was called would mislead.
      if (!this.#isNamed()) this.#name = nameForMessage(block);
      throw this.#error(raw);
    }
    this.#raw = raw;
    const meaning = meaningOf(raw.flag);
    switch (meaning) {
      case "pax":
      case "pax-global":
      case "gnu-long-name":
      case "gnu-long-link":
        return this.#startMeta(raw);
      case "gnu-sparse":
        this.#name = decodeName(this.#longName ?? raw.name);
        return this.#startGnuSparse(block, end);
      case "volume-label":
        this.#handler.skipped(decodeName(raw.name), "it is a volume label");
        return this.#skip(raw.size);
      case "unknown":
        this.#name = decodeName(this.#longName ?? raw.name);
        throw this.#error(`its type ${JSON.stringify(raw.flag)} is unknown`);
      case "file":
      case "directory":
      case "symlink":
      case "hardlink":
      case "char":
      case "block":
      case "fifo":
      case "socket":
        return this.#startEntry(raw, meaning, end);
      default:
        unreachable(meaning);
    }
  }

  #startMeta(raw: RawHeader): void {
    this.#name = decodeName(raw.name);
    if (raw.size > MAX_META) throw this.#error("an extended header is larger than 1 MiB");
    this.#meta = Buffer.allocUnsafe(raw.size);
    this.#filled = 0;
    this.#padding = padding(raw.size);
    this.#state = "meta";
    if (raw.size === 0) this.#onMeta();
  }

  #takeMeta(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#meta.length - this.#filled, chunk.length - at);
    this.#meta.set(chunk.subarray(at, at + take), this.#filled);
    this.#filled += take;
    if (this.#filled === this.#meta.length) this.#onMeta();
    return at + take;
  }

  #onMeta(): void {
    const body = this.#meta;
    this.#filled = 0;
    this.#remaining = 0;
    this.#state = this.#padding > 0 ? "skip" : "header";
    const meaning = meaningOf(this.#raw?.flag ?? "");
    if (meaning === "gnu-long-name") this.#longName = untilNul(body);
    else if (meaning === "gnu-long-link") this.#longLink = untilNul(body);
    else {
      const records = parsePax(body);
      if (records === undefined) throw this.#error("an extended header is malformed");
      if (meaning === "pax") this.#pax = [...this.#pax, ...records];
      else this.#global = mergePax(this.#global, records);
    }
    const path = this.#longName ?? this.#pax.findLast((record) => record.key === "path")?.value;
    if (path !== undefined) this.#name = decodeName(path);
  }

  #startEntry(raw: RawHeader, type: FileType, end: number): void {
    const records = this.#records();
    this.#apply(raw, records);
    const sparse = records.length === 0 ? undefined : readPaxSparse(records);
    if (sparse === "malformed") throw this.#error("its sparse map is malformed");
    this.#name = sparse?.name ?? decodeName(raw.name);
    if (type !== "file" || sparse === undefined)
      return this.#announce(raw, type, end, raw.size, undefined);
    this.#realSize = sparse.realSize;
    if (sparse.map !== undefined)
      return this.#announce(raw, type, end, sparse.realSize, sparse.map);
    this.#mapReader = new SparseMapReader();
    this.#state = "sparse-map";
    if (raw.size < BLOCK) throw this.#error("its sparse map is missing");
  }

  #apply(raw: RawHeader, records: readonly PaxRecord[]): void {
    if (this.#longName !== undefined) raw.name = this.#longName;
    if (this.#longLink !== undefined) raw.linkName = this.#longLink;
    this.#name = decodeName(raw.name);
    const malformed = applyPax(raw, records);
    if (malformed !== undefined) throw this.#error(`its ${malformed} record is malformed`);
  }

  #records(): readonly PaxRecord[] {
    return this.#global.length === 0 ? this.#pax : mergePax(this.#global, this.#pax);
  }

  #startGnuSparse(block: Uint8Array, end: number): void {
    const pairs = readGnuPairs(block, 386, 4);
    const realSize = gnuRealSize(block);
    if (pairs === undefined || realSize === undefined)
      throw this.#error("its sparse map is malformed");
    this.#gnuPairs = pairs;
    this.#realSize = realSize;
    if (block[482] !== 0) this.#state = "sparse-blocks";
    else this.#startGnuData(end);
  }

  #onSparseBlock(block: Uint8Array, end: number): void {
    const pairs = readGnuPairs(block, 0, 21);
    if (pairs === undefined) throw this.#error("its sparse map is malformed");
    for (const number of pairs) this.#gnuPairs.push(number);
    if (this.#gnuPairs.length > 1 << 21) throw this.#error("its sparse map is too long");
    if (block[504] === 0) this.#startGnuData(end);
  }

  #startGnuData(end: number): void {
    const raw = this.#current();
    this.#apply(raw, this.#records());
    this.#name = decodeName(raw.name);
    this.#announce(raw, "file", end, this.#realSize, this.#gnuPairs);
  }

  #onMapBlock(block: Uint8Array, end: number): void {
    const raw = this.#current();
    raw.size -= BLOCK;
    const map = this.#mapReader?.add(block) ?? "malformed";
    if (map === "malformed" || (map === "more" && raw.size < BLOCK))
      throw this.#error("its sparse map is malformed");
    if (map !== "more") this.#announce(raw, "file", end, this.#realSize, map);
  }

  #current(): RawHeader {
    if (this.#raw === undefined) throw new TsbuildError("INTERNAL", "the tar reader has no header");
    return this.#raw;
  }

  /** Tells the handler of the entry, and turns to its data. */
  #announce(
    raw: RawHeader,
    kind: FileType,
    end: number,
    size: number,
    map: SparseMap | undefined,
  ): void {
    const path = map === undefined ? decodeName(raw.name) : this.#name;
    // Before POSIX the slash alone told a directory; of an entry that has a type it says nothing.
    const type = raw.flag === "\0" && path.endsWith("/") ? "directory" : kind;
    if (map !== undefined && !isSound(map, size, raw.size))
      throw this.#error("its sparse map is malformed");
    if (raw.uid > MAX_ID || raw.gid > MAX_ID) throw this.#error("its owner is beyond 32 bits");
    const records = this.#records();
    const isLink = type === "symlink" || type === "hardlink";
    const entry = {
      path,
      type,
      mode: raw.mode,
      uid: raw.uid,
      gid: raw.gid,
      mtimeNs: raw.mtimeNs,
      size: type === "file" ? size : 0,
      linkTarget: isLink ? decodeName(raw.linkName) : "",
      devMajor: raw.devMajor,
      devMinor: raw.devMinor,
      xattrs: records.length === 0 ? NO_XATTRS : paxXattrs(records),
      dataOffset: end,
    };
    this.#pax = [];
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#handler.entry(map === undefined ? entry : { ...entry, sparse: map });
    if (type === "file") return this.#startData(raw.size, size, map);
    // A body after a directory or a link is passed over only where writers are known to put one.
    this.#skip(type === "directory" ? raw.size : 0);
  }

  #startData(stored: number, size: number, map: SparseMap | undefined): void {
    this.#remaining = stored;
    this.#padding = padding(stored);
    this.#spreader = map === undefined ? undefined : new SparseSpreader(map, size, this.#handler);
    this.#state = "data";
    if (stored === 0) this.#endData();
  }

  #takeData(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#remaining, chunk.length - at);
    const data = at === 0 && take === chunk.length ? chunk : chunk.subarray(at, at + take);
    if (this.#spreader === undefined) this.#handler.data(data);
    else this.#spreader.data(data);
    this.#remaining -= take;
    if (this.#remaining === 0) this.#endData();
    return at + take;
  }

  #endData(): void {
    this.#spreader?.finish();
    this.#handler.end();
    this.#state = this.#padding > 0 ? "data" : "header";
  }

  #skip(bytes: number): void {
    this.#remaining = bytes;
    this.#padding = padding(bytes);
    this.#state = bytes > 0 ? "skip" : "header";
  }

  #pass(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#remaining + this.#padding, chunk.length - at);
    const fromBody = Math.min(this.#remaining, take);
    this.#remaining -= fromBody;
    this.#padding -= take - fromBody;
    if (this.#remaining + this.#padding === 0) this.#state = "header";
    return at + take;
  }

  #error(because: string): TsbuildError {
    const where =
      this.#name === "" ? `at byte ${this.#offset}` : `at "${this.#name.slice(0, 200)}"`;
    const message = `tried to read ${this.#options.what}: ${because}, ${where}`;
    return new TsbuildError(this.#options.code ?? "STORE_FAILED", message);
  }
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function untilNul(body: Buffer): Uint8Array {
  const nul = body.indexOf(0);
  return nul < 0 ? body : body.subarray(0, nul);
}
