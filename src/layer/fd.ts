import { fstatSync, readSync, writeSync } from "node:fs";
import { setImmediate, setTimeout } from "node:timers/promises";
import { TsbuildError, messageOf } from "../errors.js";
import { diskFullHint } from "../internal/disk-full.js";

/** One read of a blob: large enough that inflating it, not calling the kernel, is the cost. */
const READ_SIZE = 256 * 1024; // bytes

/**
 * The bytes of a file that is open already, from its start; the descriptor stays open and its position is not used.
 * Synchronous reads: a thread that has chrooted itself keeps the descriptors it had, and only those.
 */
export async function* readFd(fd: number): AsyncGenerator<Uint8Array, void, void> {
  yield* readUpTo(fd, fstatSync(fd).size, () => Promise.resolve(false));
}

/** Milliseconds between looks at a file that has not grown: far less than a build can tell. */
const GROWTH = 10;

/**
 * The same of a file that somebody else is still writing, until so many bytes have come. Waits for them as long as they
 * take: who knows that they will not come aborts. @throws what `signal` says
 */
export async function* followFd(
  fd: number,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  yield* readUpTo(fd, size, () => setTimeout(GROWTH, true, { signal }));
}

/** @param more At the end of what there is: whether to look again. */
async function* readUpTo(
  fd: number,
  size: number,
  more: () => Promise<boolean>,
): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; at < size;) {
    // A new buffer each time: what consumes it may still hold the last one.
    const buffer = Buffer.allocUnsafe(Math.min(READ_SIZE, size - at));
    const got = readSync(fd, buffer, 0, buffer.length, at);
    if (got === 0) {
      if (await more()) continue;
      return;
    }
    at += got;
    yield buffer.subarray(0, got);
    await setImmediate();
  }
}

/** Writes all of it at the descriptor's position. @throws TsbuildError STORE_FAILED */
export function writeAll(
  fd: number,
  bytes: Uint8Array,
  what: string,
  position: number | null = null,
): void {
  let at = 0;
  try {
    while (at < bytes.length) {
      at += writeSync(fd, bytes, at, bytes.length - at, position === null ? null : position + at);
    }
  } catch (error) {
    throw new TsbuildError("STORE_FAILED", `tried to write ${what}: ${messageOf(error)}`, {
      cause: error,
      ...diskFullHint(error),
    });
  }
}
