import { setImmediate } from "node:timers/promises";
import { BLOCK_SIZE, type BlockSink, type Output } from "./block-sink.js";

/** The tar as it is. */
export class PlainSink implements BlockSink {
  readonly #output: Output;
  readonly #buffer = Buffer.allocUnsafe(BLOCK_SIZE);

  constructor(output: Output) {
    this.#output = output;
  }

  take(): Buffer {
    return this.#buffer;
  }

  async push(block: Buffer, length: number): Promise<void> {
    this.#output(block.subarray(0, length));
    await setImmediate();
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    // Nothing is held.
  }
}
