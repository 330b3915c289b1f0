import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { FileReader } from "../../../oci/tree.js";
import { ByteSource, DamagedError } from "./byte-source.js";
import { crc64 } from "./crc64.js";
import { LzmaDecoder } from "./lzma.js";

/** Bytes of what a file's dictionary may be: twice that of `xz -9`. */
const MAX_DICTIONARY = 128 * 1024 * 1024;
/** Bytes that one chunk can stand for. */
const MAX_CHUNK = 2 * 1024 * 1024;
const LZMA2 = 0x21n;
/** Bytes of the check that follows a block, by its kind. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

/**
 * The content of an .xz file (https://tukaani.org/xz/xz-file-format.txt), several streams one after the other too. The only
 * filter is LZMA2: others (for machine code) are refused. Memory: the dictionary and some megabytes.
 * @throws DamagedError
 */
export function* unxz(reader: FileReader): Generator<Uint8Array, void, void> {
  const source = new ByteSource(reader);
  for (let first = true; ; first = false) {
    const check = readStreamHeader(source, first);
    if (check === undefined) return;
    for (;;) {
      const size = source.byte();
      // An index begins with what would be a header of no size.
      if (size === 0) break;
      yield* readBlock(source, size, check);
    }
    skipIndex(source);
    const footer = source.bytes(12);
    if (
      footer.toString("latin1", 10) !== "YZ" ||
      footer.readUInt32LE(0) !== crc32(footer.subarray(4, 10))
    ) {
      throw new DamagedError("a stream does not end as one");
    }
  }
}

/** The kind of check; `undefined` at the end of the file. */
function readStreamHeader(source: ByteSource, first: boolean): number | undefined {
  let begin = source.next();
  // Between streams, zeros in fours.
  while (!first && begin === 0) begin = source.next();
  if (!first && begin < 0) return undefined;
  const rest = source.bytes(11);
  const flags = rest.subarray(5, 7);
  const check = flags[1] ?? 0;
  if (
    begin !== 0xfd ||
    rest.toString("latin1", 0, 5) !== "7zXZ\0" ||
    rest.readUInt32LE(7) !== crc32(flags)
  ) {
    throw new DamagedError("a stream does not begin as one");
  }
  if (flags[0] !== 0 || check > 15) throw new DamagedError("it is of a kind that is not known");
  return check;
}

function* readBlock(
  source: ByteSource,
  size: number,
  check: number,
): Generator<Uint8Array, void, void> {
  const dictionary = readBlockHeader(source, size);
  const begin = source.offset;
  const checksum = makeChecksum(check);
  for (const chunk of readLzma2(source, dictionary)) {
    checksum?.update(chunk);
    yield chunk;
  }
  while ((source.offset - begin) % 4 !== 0) source.byte();
  const wanted = source.bytes(CHECK_SIZES[check] ?? 0);
  if (checksum !== undefined && !checksum.digest().equals(wanted)) {
    throw new DamagedError("a block's checksum is wrong");
  }
}

/** Bytes of the dictionary. */
function readBlockHeader(source: ByteSource, size: number): number {
  const rest = source.bytes(size * 4 + 3);
  const header = Buffer.concat([Buffer.of(size), rest]);
  const length = header.length - 4;
  if (header.readUInt32LE(length) !== crc32(header.subarray(0, length))) {
    throw new DamagedError("a block's header is wrong");
  }
  const flags = header[1] ?? 0;
  const fields = new ByteSource(onceReader(header.subarray(2, length)));
  if ((flags & 0x40) !== 0) readNumber(fields);
  if ((flags & 0x80) !== 0) readNumber(fields);
  const filter = readNumber(fields);
  if ((flags & 3) !== 0 || filter !== LZMA2) {
    throw new DamagedError("it uses a filter other than LZMA2, which is not supported");
  }
  if (readNumber(fields) !== 1n) throw new DamagedError("a block's header is wrong");
  const bits = fields.byte();
  const dictionary =
    bits >= 40 ? Number.POSITIVE_INFINITY : (2 | (bits & 1)) * 2 ** (11 + (bits >> 1));
  if (dictionary > MAX_DICTIONARY) {
    throw new DamagedError(`its dictionary is larger than ${MAX_DICTIONARY / 1024 / 1024} MiB`);
  }
  return dictionary;
}

function* readLzma2(source: ByteSource, dictionary: number): Generator<Uint8Array, void, void> {
  const decoder = new LzmaDecoder();
  const window = new Window(dictionary);
  let mustReset = 3;
  for (let control = source.byte(); control !== 0; control = source.byte()) {
    const packed = control >= 0x80;
    const low = source.byte() * 0x100 + source.byte() + 1;
    const size = packed ? ((control & 0x1f) << 16) + low : low;
    const reset = packed ? (control >> 5) & 3 : control === 1 ? 3 : 0;
    if (!packed && control > 2) throw new DamagedError("a chunk is of no known kind");
    if (mustReset === 3 && reset !== 3)
      throw new DamagedError("it does not begin with a dictionary");
    if (reset === 3) window.reset();
    window.makeRoom(size);
    if (!packed) {
      window.bytes.set(source.bytes(size), window.position);
      mustReset = Math.min(mustReset, 2);
    } else {
      const input = source.byte() * 0x100 + source.byte() + 1;
      if (reset < mustReset && mustReset !== 3) throw new DamagedError("a chunk has no properties");
      if (reset >= 2) decoder.setProperties(source.byte());
      if (reset >= 1) decoder.resetState();
      mustReset = 0;
      decoder.decode(source.bytes(input), window.bytes, {
        position: window.position,
        end: window.position + size,
        start: window.start,
        total: window.total,
      });
    }
    yield window.take(size);
  }
}

/** The last bytes written, and room for the next ones. */
class Window {
  bytes: Buffer;
  position = 0;
  start = 0;
  /** Since the dictionary's begin. */
  total = 0;
  readonly #dictionary: number;

  constructor(dictionary: number) {
    this.#dictionary = dictionary;
    this.bytes = Buffer.allocUnsafe(MAX_CHUNK * 2);
  }

  reset(): void {
    this.start = this.position;
    this.total = 0;
  }

  /** Grows up to what the dictionary needs, then slides. */
  makeRoom(size: number): void {
    if (this.position + size <= this.bytes.length) return;
    const kept = Math.min(this.position - this.start, this.#dictionary);
    const from = this.position - kept;
    const most = this.#dictionary + Math.max(this.#dictionary / 4, MAX_CHUNK) + MAX_CHUNK;
    if (this.bytes.length < most && kept + size > this.bytes.length / 2) {
      const larger = Buffer.allocUnsafe(Math.min(most, this.bytes.length * 2 + size));
      this.bytes.copy(larger, 0, from, this.position);
      this.bytes = larger;
    } else {
      this.bytes.copyWithin(0, from, this.position);
    }
    this.position = kept;
    this.start = 0;
  }

  /** A copy of what was written now. */
  take(size: number): Uint8Array {
    const from = this.position;
    this.position += size;
    this.total += size;
    return Buffer.from(this.bytes.subarray(from, this.position));
  }
}

/** Records and padding are not needed: every block was checked. */
function skipIndex(source: ByteSource): void {
  const begin = source.offset - 1;
  const records = readNumber(source);
  for (let i = 0n; i < records * 2n; i++) readNumber(source);
  while ((source.offset - begin) % 4 !== 0) source.byte();
  source.bytes(4);
}

/** Seven bits a byte, the lowest first. */
function readNumber(source: ByteSource): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 63n; shift += 7n) {
    const byte = source.byte();
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  throw new DamagedError("a number is too long");
}

interface Checksum {
  update(chunk: Uint8Array): unknown;
  digest(): Buffer;
}

/** `undefined` for those that are not known: the format says to go on without. */
function makeChecksum(check: number): Checksum | undefined {
  if (check === 1) {
    let value = 0;
    return {
      update: (chunk) => (value = crc32(chunk, value)),
      digest: () => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32LE(value);
        return bytes;
      },
    };
  }
  if (check === 4) return crc64();
  return check === 10 ? createHash("sha256") : undefined;
}

function onceReader(bytes: Uint8Array): FileReader {
  let done = false;
  return {
    read(into) {
      if (done) return 0;
      done = true;
      into.set(bytes);
      return bytes.length;
    },
    [Symbol.dispose]() {
      done = true;
    },
  };
}
