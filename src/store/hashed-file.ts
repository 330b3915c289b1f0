import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { TsbuildError } from "../errors.js";
import { HASHING_IN_PLACE, type Hashing, type OpenHash } from "../internal/hashing.js";
import { watchGarbage } from "../internal/young-garbage.js";
import { type Digest, digestFromHex, hexOf } from "../oci/digest.js";

/** Bytes of each read, and of the two buffers that a write fills in turn: large enough that calls cost nothing. */
const BUFFER = 256 * 1024;

/** The bytes whose sum is known. */
export interface Content {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** Writes the whole chunk, however the kernel splits it. */
export async function writeFully(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.byteLength;) {
    const { bytesWritten } = await handle.write(chunk, done);
    done += bytesWritten;
  }
}

/** Gathers chunks and writes one buffer while the next one fills. The chunks are copied: their owner may use them again. */
class Gatherer {
  readonly #handle: FileHandle;
  #filling: Buffer = Buffer.allocUnsafeSlow(BUFFER);
  #writing: Buffer = Buffer.allocUnsafeSlow(BUFFER);
  #used = 0;
  #pending: Promise<void> = Promise.resolve();

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(chunk: Uint8Array): Promise<void> {
    let rest = chunk;
    while (rest.byteLength > 0) {
      const part = rest.subarray(0, BUFFER - this.#used);
      this.#filling.set(part, this.#used);
      this.#used += part.byteLength;
      rest = rest.subarray(part.byteLength);
      if (this.#used === BUFFER) await this.#swap();
    }
  }

  async flush(): Promise<void> {
    await this.#swap();
    await this.#pending;
  }

  /** Waits for what is under way and forgets its outcome: the handle can be closed then. */
  async settle(): Promise<void> {
    await this.#pending.catch(() => undefined);
  }

  async #swap(): Promise<void> {
    await this.#pending;
    [this.#filling, this.#writing] = [this.#writing, this.#filling];
    this.#pending = writeFully(this.#handle, this.#writing.subarray(0, this.#used));
    this.#pending.catch(() => undefined); // It is awaited later; until then nobody listens.
    this.#used = 0;
  }
}

function mismatch(what: string, found: string, expected: Content): TsbuildError {
  return new TsbuildError(
    "STORE_FAILED",
    `tried to write ${what}: the bytes are ${found}, not ${expected.digest} of ${expected.size} bytes`,
    { hint: "the source is damaged or was cut short; try again" },
  );
}

/** Of bytes that somebody else hashes, or has hashed. */
export function hashedBefore(digest: Digest): Hashing {
  const hash: OpenHash = {
    update: () => undefined,
    digest: () => hexOf(digest),
    [Symbol.dispose]: () => undefined,
  };
  return { sha256: () => hash };
}

/** Ends a source that will not be read, so that what is behind it (a connection, a file) is let go. */
export async function closeUnread(bytes: AsyncIterable<Uint8Array>): Promise<void> {
  if (bytes instanceof Readable) bytes.destroy();
  else await bytes[Symbol.asyncIterator]().return?.();
}

/**
 * Writes a file that must not exist yet, and hashes it on the way. On failure the file stays for the caller to delete.
 * @param asFailure makes the error of a failed system call; errors of the source pass through as they are.
 * @throws TsbuildError STORE_FAILED when the bytes are not `expected`; more bytes than expected are never written.
 */
export async function writeHashed(
  path: string,
  bytes: AsyncIterable<Uint8Array>,
  options: {
    readonly what: string;
    readonly expected: Content | undefined;
    readonly asFailure: (error: unknown) => Error;
    readonly signal: AbortSignal;
    readonly hashing?: Hashing;
    /** Hears the path when the first bytes have come. */
    readonly onFile?: (path: string) => void;
    /** The source fails at its end when its bytes are not `expected`. */
    readonly isVerified?: boolean;
  },
): Promise<Content> {
  const { what, expected, asFailure, signal, onFile, hashing = HASHING_IN_PLACE } = options;
  const onDisk = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw asFailure(error);
    }
  };
  signal.throwIfAborted();
  const handle = await onDisk(() => open(path, "wx", 0o644));
  const gatherer = new Gatherer(handle);
  const garbage = watchGarbage();
  const isKnown = options.isVerified === true && expected !== undefined;
  using hash = (isKnown ? hashedBefore(expected.digest) : hashing).sha256(expected?.size);
  let size = 0;
  try {
    for await (const chunk of bytes) {
      signal.throwIfAborted();
      if (size === 0) onFile?.(path);
      size += chunk.byteLength;
      if (expected !== undefined && size > expected.size) {
        throw mismatch(what, "longer", expected);
      }
      hash.update(chunk);
      await onDisk(() => gatherer.write(chunk));
      garbage.count(chunk.byteLength);
    }
    await onDisk(() => gatherer.flush());
  } finally {
    await gatherer.settle();
    await handle.close();
  }
  signal.throwIfAborted();
  const digest = digestFromHex(hash.digest());
  if (expected !== undefined && (digest !== expected.digest || size !== expected.size)) {
    throw mismatch(what, `${digest} of ${size} bytes`, expected);
  }
  return { digest, size };
}

/** What {@link readHashed} ended with. */
export interface HashedRead extends Content {
  /** Of the file that was read: the name may mean another one by now. */
  readonly inode: bigint;
}

export interface HashedReading {
  readonly signal: AbortSignal;
  /** Absent: in place. */
  readonly hashing?: Hashing;
}

/** A file's bytes in fresh buffers; returns their hash once all were taken. Throws the system's own errors. */
export async function* readHashed(
  path: string,
  { signal, hashing = HASHING_IN_PLACE }: HashedReading,
): AsyncGenerator<Uint8Array, HashedRead, undefined> {
  signal.throwIfAborted();
  const handle = await open(path, "r");
  try {
    const found = await handle.stat({ bigint: true });
    const garbage = watchGarbage();
    using hash = hashing.sha256(Number(found.size));
    let size = 0;
    for (;;) {
      const buffer = Buffer.allocUnsafeSlow(BUFFER);
      const { bytesRead } = await handle.read(buffer, 0, BUFFER, null);
      signal.throwIfAborted();
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      size += bytesRead;
      yield chunk;
      garbage.count(BUFFER);
    }
    return { digest: digestFromHex(hash.digest()), size, inode: found.ino };
  } finally {
    await handle.close();
  }
}

/** Whether a file's content is `expected`. `false` when it cannot be read. */
export async function holdsContent(
  path: string,
  expected: Content,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const reading = readHashed(path, { signal });
    for (;;) {
      const { done, value } = await reading.next();
      if (done) return value.digest === expected.digest && value.size === expected.size;
    }
  } catch {
    signal.throwIfAborted();
    return false;
  }
}
