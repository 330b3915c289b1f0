import { decodeName, encodeName } from "../../layer/path-bytes.js";

/** Bytes. Large enough for few of them, small enough that the last one wastes little. */
const CHUNK_SIZE = 4 * 1024 * 1024;
const HEAD_SIZE = 4;
/** Bytes of one entry's identity, see {@link stampOf}. */
export const STAMP_SIZE = 56;
const PATH_MAX = 4096;

/**
 * A scan's records, sorted by the bytes of their paths, outside of the JavaScript heap and movable between threads.
 * Each: u16 bytes shared with the path before, u16 bytes that follow, those bytes, the stamp. About 75 bytes for an
 * entry of an ordinary image: 800,000 files are 60 MB.
 */
export interface ScanRecords {
  readonly chunks: readonly ScanChunk[];
  readonly count: number;
  /** Nanoseconds since the epoch: the latest of all. */
  readonly newestCtimeNs: bigint;
}
export interface ScanChunk {
  readonly bytes: Uint8Array;
  readonly used: number;
}

/** Packs records that come in order. */
export interface ScanWriter {
  /** @param stamp Copied. */
  add(path: string, stamp: Uint8Array): void;
  finish(): ScanRecords;
}

export function openScanWriter(): ScanWriter {
  const chunks: ScanChunk[] = [];
  let chunk = Buffer.allocUnsafeSlow(CHUNK_SIZE);
  let used = 0;
  let count = 0;
  let last: Buffer = Buffer.alloc(0);
  let newest = { seconds: 0, nanoseconds: 0 };
  return {
    add(path, stamp) {
      const bytes = encodeName(path);
      let shared = 0;
      const limit = Math.min(bytes.length, last.length);
      while (shared < limit && bytes[shared] === last[shared]) shared++;
      const suffix = bytes.length - shared;
      if (used + HEAD_SIZE + suffix + STAMP_SIZE > CHUNK_SIZE) {
        chunks.push({ bytes: chunk, used });
        chunk = Buffer.allocUnsafeSlow(CHUNK_SIZE);
        used = 0;
      }
      chunk.writeUInt16LE(shared, used);
      chunk.writeUInt16LE(suffix, used + 2);
      bytes.copy(chunk, used + HEAD_SIZE, shared);
      chunk.set(stamp.subarray(0, STAMP_SIZE), used + HEAD_SIZE + suffix);
      used += HEAD_SIZE + suffix + STAMP_SIZE;
      count++;
      last = bytes;
      newest = laterOf(newest, stamp);
    },
    finish: () => ({
      chunks: [...chunks, { bytes: chunk, used }],
      count,
      newestCtimeNs: BigInt(newest.seconds) * 1_000_000_000n + BigInt(newest.nanoseconds),
    }),
  };
}

interface Instant {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Of an instant and a stamp's ctime. In numbers: a big integer for each file would cost more than reading the file's state. */
function laterOf(newest: Instant, stamp: Uint8Array): Instant {
  const view = new DataView(stamp.buffer, stamp.byteOffset, STAMP_SIZE);
  const low = view.getUint32(CTIME_AT, true);
  const seconds = view.getInt32(CTIME_AT + 4, true) * 2 ** 32 + low;
  const nanoseconds = view.getUint32(CTIME_AT + 8, true);
  const later =
    seconds > newest.seconds || (seconds === newest.seconds && nanoseconds > newest.nanoseconds);
  return later ? { seconds, nanoseconds } : newest;
}

/** Walks records in their order. */
export interface ScanCursor {
  /** Path of the record that the cursor stands on; `undefined` behind the last one. */
  readonly path: string | undefined;
  /** Of that record; valid until `next`. */
  readonly stamp: Uint8Array;
  next(): void;
}

export function openScanCursor(records: ScanRecords): ScanCursor {
  const pathBytes = Buffer.alloc(PATH_MAX * 2);
  let index = 0;
  let at = 0;
  let path: string | undefined;
  let stamp: Uint8Array = Buffer.alloc(0);
  const next = (): void => {
    let chunk = records.chunks[index];
    while (chunk !== undefined && at >= chunk.used) {
      chunk = records.chunks[++index];
      at = 0;
    }
    if (chunk === undefined) {
      path = undefined;
      return;
    }
    const { bytes } = chunk;
    const shared = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    const suffix = (bytes[at + 2] ?? 0) | ((bytes[at + 3] ?? 0) << 8);
    const start = at + HEAD_SIZE;
    pathBytes.set(bytes.subarray(start, start + suffix), shared);
    path = decodeName(pathBytes.subarray(0, shared + suffix));
    stamp = bytes.subarray(start + suffix, start + suffix + STAMP_SIZE);
    at = start + suffix + STAMP_SIZE;
  };
  next();
  return {
    get path() {
      return path;
    },
    get stamp() {
      return stamp;
    },
    next,
  };
}

/** What to hand over instead of copying when records go to another thread. */
export function transferOf(records: ScanRecords): readonly ArrayBuffer[] {
  return records.chunks.map(({ bytes }) => bytes.buffer as ArrayBuffer);
}

const SIZE_AT = 8;
const CTIME_AT = 16;
const CTIME_END = 28;
const MODE_AT = 40;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFSOCK = 0o140000;

/** Whether the entry is as it was. `restored`: a directory whose ctime others than the step have moved. */
export function sameStamp(a: Uint8Array, b: Uint8Array, restored: boolean): boolean {
  if (!restored) return Buffer.compare(a, b) === 0;
  return (
    Buffer.compare(a.subarray(0, CTIME_AT), b.subarray(0, CTIME_AT)) === 0 &&
    Buffer.compare(a.subarray(CTIME_END), b.subarray(CTIME_END)) === 0
  );
}

/** Of two stamps of one directory: it has a new time, and the same owner and mode. */
export function movedOnly(a: Uint8Array, b: Uint8Array): boolean {
  return (
    Buffer.compare(a.subarray(CTIME_END), b.subarray(CTIME_END)) === 0 &&
    Buffer.compare(a.subarray(SIZE_AT, CTIME_AT), b.subarray(SIZE_AT, CTIME_AT)) !== 0
  );
}

export function isDirectoryStamp(stamp: Uint8Array): boolean {
  return (modeOf(stamp) & S_IFMT) === S_IFDIR;
}

/** The inode number of the stamp's entry. */
export function inodeOf(stamp: Uint8Array): bigint {
  return new DataView(stamp.buffer, stamp.byteOffset, STAMP_SIZE).getBigUint64(0, true);
}

/** No layer carries one. */
export function isSocketStamp(stamp: Uint8Array): boolean {
  return (modeOf(stamp) & S_IFMT) === S_IFSOCK;
}

function modeOf(stamp: Uint8Array): number {
  return (stamp[MODE_AT] ?? 0) | ((stamp[MODE_AT + 1] ?? 0) << 8);
}

/**
 * What has to be equal for an entry to be unchanged, from the kernel's `struct statx`: inode, size, ctime (which no
 * program can set), owner, mode, device. No content: a write moves ctime.
 */
export function stampOf(statx: Buffer, into: Buffer): void {
  statx.copy(into, 0, 32, 40); // inode
  const isDirectory = (statx.readUInt16LE(28) & S_IFMT) === S_IFDIR;
  // A directory's size says nothing; its mtime takes that place, low halves of seconds and nanoseconds.
  if (!isDirectory) statx.copy(into, SIZE_AT, 40, 48);
  else {
    statx.copy(into, SIZE_AT, 112, 116);
    statx.copy(into, SIZE_AT + 4, 120, 124);
  }
  statx.copy(into, CTIME_AT, 96, 108); // ctime
  statx.copy(into, 28, 20, 28); // uid, gid
  statx.copy(into, 36, 128, 132); // rdev, major
  statx.copy(into, MODE_AT, 28, 30);
  into.writeUInt16LE(0, 42);
  statx.copy(into, 44, 132, 136); // rdev, minor
  statx.copy(into, 48, 136, 144); // the filesystem's device
}
