/**
 * Where the tar goes, block by block. The caller fills the buffer of `take()`, gives it back with `push`, and may take
 * the next one when `push` has resolved: so a fixed number of buffers serves a layer of any size.
 */
export interface BlockSink {
  take(): Buffer;
  /** The first `length` bytes count. Resolves when another buffer is free. */
  push(block: Buffer, length: number): Promise<void>;
  /** Resolves when everything is compressed and written. */
  finish(): Promise<void>;
  /** Gives native memory back; fine at any time, more than once. */
  close(): void;
}

/** Takes compressed bytes; they are only valid during the call. */
export type Output = (bytes: Uint8Array) => void;

/**
 * Bytes of one block: what one thread compresses at a time, and what the tar is cut into. Part of the format, since
 * compressed bytes depend on it: never derived from the machine.
 */
export const BLOCK_SIZE: number = 512 * 1024;
