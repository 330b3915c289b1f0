import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { messageOf, TsbuildError } from "../errors.js";
import { diskFullHint } from "./disk-full.js";

/**
 * Room on the disk for what does not fit into memory: a file without a name, gone however the process ends. It is made
 * with the first byte that it takes, or by `open`. Synchronous: a thread that has chrooted itself keeps descriptors alone.
 */
export class SpillFile implements Disposable {
  readonly #path: string;
  readonly #what: string;
  #descriptor: number | undefined;
  #closed = false;
  #end = 0;

  /** @param what For messages: "the content of an archive". */
  constructor(path: string, what: string) {
    this.#path = path;
    this.#what = what;
  }

  /** Makes the file now: later its directory may be out of reach. @throws TsbuildError STORE_FAILED */
  open(): void {
    this.#call(() => undefined);
  }

  /** The place of `bytes` bytes that nothing else has. */
  allocate(bytes: number): number {
    const at = this.#end;
    this.#end += bytes;
    return at;
  }

  /** @throws TsbuildError STORE_FAILED when the disk is full */
  write(bytes: Uint8Array, position: number): void {
    for (let at = 0; at < bytes.length;) {
      at += this.#call((descriptor) =>
        writeSync(descriptor, bytes, at, bytes.length - at, position + at),
      );
    }
  }

  /** Fills `into` with what was written there. @throws TsbuildError STORE_FAILED */
  read(into: Uint8Array, position: number): void {
    for (let at = 0; at < into.length;) {
      const got = this.#call((descriptor) =>
        readSync(descriptor, into, at, into.length - at, position + at),
      );
      if (got === 0) throw this.#failure(new Error("it is shorter than it was"));
      at += got;
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #call<T>(call: (descriptor: number) => T): T {
    if (this.#closed)
      throw new TsbuildError("INTERNAL", `tried to use ${this.#path}: it is closed`);
    try {
      this.#descriptor ??= openUnlinked(this.#path);
      return call(this.#descriptor);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(cause: unknown): TsbuildError {
    return new TsbuildError(
      "STORE_FAILED",
      `tried to keep ${this.#what} at ${this.#path}: ${messageOf(cause)}`,
      { cause, ...diskFullHint(cause) },
    );
  }
}

function openUnlinked(path: string): number {
  const descriptor = openSync(path, "wx+", 0o600);
  try {
    unlinkSync(path);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  return descriptor;
}
