import { setImmediate } from "node:timers/promises";
import { BitReader } from "./bit-reader.js";
import { Bzip2Block } from "./bzip2-block.js";
import { ByteQueue, DamagedError, truncated } from "./byte-queue.js";

/**
 * The most that one block can take compressed: 900,001 symbols of 20 bits, and the tables before them. With as much at
 * hand a block is decoded without waiting.
 */
const LARGEST_BLOCK = 2_500_000; // bytes
const BLOCK_MAGIC_HIGH = 0x314159;
const BLOCK_MAGIC_LOW = 0x265359;
const END_MAGIC_HIGH = 0x177245;
const END_MAGIC_LOW = 0x385090;

/**
 * Decompresses bzip2, several streams in a row too. Holds one block: about 8 MB. Checks every sum.
 * Throws DamagedError.
 */
export async function* bunzip2(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const queue = new ByteQueue(chunks);
  try {
    do {
      yield* stream(queue);
    } while (await queue.fill(1));
  } finally {
    await queue.close();
  }
}

async function* stream(queue: ByteQueue): AsyncGenerator<Uint8Array, void, void> {
  if (!(await queue.fill(4))) throw truncated();
  const { bytes, position } = queue;
  const level = (bytes[position + 3] ?? 0) - 0x30;
  const magic =
    bytes[position] === 0x42 && bytes[position + 1] === 0x5a && bytes[position + 2] === 0x68;
  if (!magic || level < 1 || level > 9) throw new DamagedError("it is no bzip2 stream");
  queue.position += 4;
  const block = new Bzip2Block(level * 100_000);
  let sum = 0;
  for (let bit = 0; ;) {
    await queue.fill(LARGEST_BLOCK);
    const bits = new BitReader(queue.bytes, queue.position, bit);
    const high = bits.read(24);
    const low = bits.read(24);
    const isEnd = high === END_MAGIC_HIGH && low === END_MAGIC_LOW;
    if (!isEnd && (high !== BLOCK_MAGIC_HIGH || low !== BLOCK_MAGIC_LOW)) {
      throw new DamagedError("a bzip2 block has no magic number");
    }
    const stored = bits.read32();
    if (isEnd) {
      if (stored !== sum) throw new DamagedError("the checksum of a bzip2 stream is wrong");
      queue.position = bits.nextByte;
      return;
    }
    block.read(bits);
    queue.position = bits.byte;
    bit = bits.bit;
    for (const piece of block.pieces()) yield piece;
    if (block.sum !== stored) throw new DamagedError("the checksum of a bzip2 block is wrong");
    sum = (((sum << 1) | (sum >>> 31)) ^ stored) >>> 0;
    await setImmediate();
  }
}
