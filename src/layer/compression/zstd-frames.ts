import { ByteQueue, DamagedError, truncated } from "./byte-queue.js";

/** RFC 8878, 3.1.1.2.4: no block is larger, compressed or not. */
const LARGEST_BLOCK = 128 * 1024; // bytes
const MAGIC = 0xfd2fb528;
/** The sixteen magic numbers of skippable frames differ in their last four bits. */
const SKIPPABLE = 0x184d2a50;
const RLE = 1;
const RESERVED = 3;

/**
 * Cuts zstd frames (RFC 8878) at the borders of their blocks, and leaves skippable ones out. So each piece stands for
 * at most 128 KiB of content, however small it is, and a stream that ends within a frame is noticed: decoders give
 * what they have and say nothing.
 */
export async function* zstdPieces(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const queue = new ByteQueue(chunks);
  let frames = 0;
  try {
    while (await queue.fill(1)) {
      frames += 1;
      const magic = await readUInt32(queue);
      if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE) {
        queue.position += 4;
        await skip(queue, (await readUInt32(queue)) + 4);
      } else if (magic === MAGIC) {
        yield* frame(queue);
      } else {
        throw new DamagedError("it is no zstd frame");
      }
    }
    if (frames === 0) throw truncated();
  } finally {
    await queue.close();
  }
}

async function* frame(queue: ByteQueue): AsyncGenerator<Uint8Array, void, void> {
  if (!(await queue.fill(5))) throw truncated();
  const descriptor = queue.bytes[queue.position + 4] ?? 0;
  const single = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  yield await take(queue, 5 + (single ? 0 : 1) + dictionary + contentSize);
  for (let last = false; !last;) {
    if (!(await queue.fill(3))) throw truncated();
    const { bytes, position } = queue;
    const head =
      (bytes[position] ?? 0) |
      ((bytes[position + 1] ?? 0) << 8) |
      ((bytes[position + 2] ?? 0) << 16);
    last = (head & 1) === 1;
    const type = (head >> 1) & 3;
    const size = head >> 3;
    if (type === RESERVED || size > LARGEST_BLOCK)
      throw new DamagedError("a zstd block is malformed");
    yield await take(queue, 3 + (type === RLE ? 1 : size));
  }
  if ((descriptor & 4) !== 0) yield await take(queue, 4);
}

async function readUInt32(queue: ByteQueue): Promise<number> {
  if (!(await queue.fill(4))) throw truncated();
  return new DataView(queue.bytes.buffer, queue.bytes.byteOffset + queue.position, 4).getUint32(
    0,
    true,
  );
}

async function take(queue: ByteQueue, count: number): Promise<Uint8Array> {
  if (!(await queue.fill(count))) throw truncated();
  const piece = queue.bytes.subarray(queue.position, queue.position + count);
  queue.position += count;
  return piece;
}

async function skip(queue: ByteQueue, count: number): Promise<void> {
  for (let left = count; left > 0;) {
    if (!(await queue.fill(1))) throw truncated();
    const step = Math.min(left, queue.available);
    queue.position += step;
    left -= step;
  }
}
