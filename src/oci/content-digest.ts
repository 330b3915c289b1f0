import { createHash } from "node:crypto";
import { isSettled, settledBefore, type SettledBefore } from "../internal/settled.js";
import type { FileEntry } from "./tree.js";

/** Digests by what tells one state of a thing from the next, from build to build. */
export interface StatMemory {
  get(state: string): string | undefined;
  /** @param lasting whether a later change must show in the state: if not, it is only good for this build */
  set(state: string, digest: string, lasting: boolean): void;
}

export interface ContentReading {
  /** By `FileSource.identity`: a file that has not changed since it was read is not read again. */
  readonly files: StatMemory;
  /** To read into. */
  readonly buffer: Uint8Array;
  readonly signal: AbortSignal;
}

/**
 * The sha256 of a file's content, in hexadecimal digits; "" for what has none.
 * @param identity `FileSource.identity`, where there is one
 */
export function contentDigest(
  entry: FileEntry,
  identity: string | undefined,
  reading: ContentReading,
): string {
  if (entry.type !== "file") return "";
  const known = identity === undefined ? undefined : reading.files.get(identity);
  if (known !== undefined) return known;
  const clock = settledBefore(Date.now());
  const digest = read(entry, reading);
  if (identity !== undefined) reading.files.set(identity, digest, hasSettled(identity, clock));
  return digest;
}

function read(entry: FileEntry, { buffer, signal }: ContentReading): string {
  const reader = entry.open?.();
  if (reader === undefined) return "";
  const hash = createHash("sha256");
  try {
    for (let left = entry.size; left > 0;) {
      signal.throwIfAborted();
      const count = reader.read(buffer);
      if (count === 0) break;
      hash.update(buffer.subarray(0, count));
      left -= count;
    }
  } finally {
    reader[Symbol.dispose]();
  }
  return hash.digest("hex");
}

/** Whether a later change must show in a `FileSource.identity`, whose last two parts are times. */
export function hasSettled(identity: string, clock: SettledBefore): boolean {
  return identity
    .split(":")
    .slice(-2)
    .every((time) => isSettled(BigInt(time), clock));
}
