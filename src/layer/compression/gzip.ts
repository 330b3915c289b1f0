import { constants, crc32, deflateRaw, deflateRawSync } from "node:zlib";
import { watchGarbage } from "../../internal/young-garbage.js";
import { BLOCK_SIZE, type BlockSink, type Output } from "./block-sink.js";

/**
 * Of zlib's scale. On root filesystems its output is 2 % larger than that of level 6, for some two thirds of the
 * processor time: docs/decisions/own-layer-codec.md has the figures.
 */
export const GZIP_LEVEL = 4;

/** Blocks being deflated at once: the size of Node's thread pool. The bytes do not depend on it. */
const WINDOW = 4;
/** What deflate can look back on. */
const DICTIONARY = 32 * 1024; // bytes
/** A block is judged by four pieces that make 32 KiB together. */
const PROBE_PIECES = 4;
const PROBE_PIECE = 8 * 1024; // bytes
/** Compressed to more than this share, a block is stored: deflating it costs time and gains nothing. */
const WORTHWHILE = 0.97;
const LONGEST_STORED = 0xffff; // bytes; RFC 1951, 3.2.4
/** RFC 1952: deflate, no name, no time, of an unknown system: the same bytes everywhere. */
const HEADER = Buffer.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);
/** An empty final block with fixed codes. */
const FINAL = Buffer.of(0x03, 0x00);

interface Piece {
  readonly block: Buffer;
  readonly deflated: Promise<readonly Uint8Array[]>;
}

/**
 * One gzip member, deflated in parallel: each block apart, with the 32 KiB before it as its dictionary, ended by a
 * sync flush so that the pieces join at byte borders. Blocks have one size, so the bytes are the same on any machine
 * with the same zlib.
 */
export class GzipSink implements BlockSink {
  readonly #output: Output;
  readonly #level: number;
  readonly #free: Buffer[] = [];
  readonly #running: Piece[] = [];
  readonly #garbage = watchGarbage();
  #tail: Buffer | undefined;
  #crc = 0;
  #size = 0;

  /** `level`: 0 to 9. */
  constructor(output: Output, level: number = GZIP_LEVEL) {
    this.#output = output;
    this.#level = level;
    output(HEADER);
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafe(BLOCK_SIZE);
  }

  async push(block: Buffer, length: number): Promise<void> {
    const bytes = block.subarray(0, length);
    this.#crc = crc32(bytes, this.#crc);
    this.#size += length;
    const deflated = this.#deflate(bytes, this.#tail);
    // Looked at in turn, below; until then a failure must not count as unhandled.
    deflated.catch(() => undefined);
    this.#tail = Buffer.from(bytes.subarray(-DICTIONARY));
    this.#running.push({ block, deflated });
    if (this.#running.length >= WINDOW) await this.#writeFirst();
  }

  async finish(): Promise<void> {
    while (this.#running.length > 0) await this.#writeFirst();
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(this.#crc, 0);
    trailer.writeUInt32LE(this.#size % 2 ** 32, 4);
    this.#output(FINAL);
    this.#output(trailer);
  }

  close(): void {
    this.#free.length = 0;
  }

  async #writeFirst(): Promise<void> {
    const piece = this.#running.shift();
    if (piece === undefined) return;
    for (const bytes of await piece.deflated) {
      this.#output(bytes);
      this.#garbage.count(bytes.length);
    }
    this.#free.push(piece.block);
  }

  #deflate(bytes: Buffer, dictionary: Buffer | undefined): Promise<readonly Uint8Array[]> {
    if (this.#level === 0 || !isWorthwhile(bytes)) return Promise.resolve(storedBlocks(bytes));
    const options = {
      level: this.#level,
      memLevel: 9,
      finishFlush: constants.Z_SYNC_FLUSH,
      chunkSize: 128 * 1024,
      ...(dictionary === undefined ? {} : { dictionary }),
    };
    return new Promise((resolve, reject) => {
      deflateRaw(bytes, options, (error, result) => {
        if (error === null) resolve([result]);
        else reject(error);
      });
    });
  }
}

function isWorthwhile(bytes: Buffer): boolean {
  if (bytes.length <= PROBE_PIECES * PROBE_PIECE) return true;
  const step = Math.floor((bytes.length - PROBE_PIECE) / (PROBE_PIECES - 1));
  const probe = Buffer.allocUnsafe(PROBE_PIECES * PROBE_PIECE);
  for (let i = 0; i < PROBE_PIECES; i++)
    bytes.copy(probe, i * PROBE_PIECE, i * step, i * step + PROBE_PIECE);
  return (
    deflateRawSync(probe, { level: 1, chunkSize: 64 * 1024 }).length < WORTHWHILE * probe.length
  );
}

/** RFC 1951, 3.2.4: the bytes themselves, none of the blocks being the last. */
function storedBlocks(bytes: Buffer): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += LONGEST_STORED) {
    const piece = bytes.subarray(at, at + LONGEST_STORED);
    const head = Buffer.alloc(5);
    head.writeUInt16LE(piece.length, 1);
    head.writeUInt16LE(0xffff ^ piece.length, 3);
    parts.push(head, piece);
  }
  return parts;
}
