/** Bytes that are kept of a step's output. */
const KEPT = 8 * 1024;
/** Lines of it that an error shows. */
const LINES = 10;

/** The end of a step's output, for the message when it fails. */
export class OutputTail {
  #kept: Buffer = Buffer.alloc(0);

  add(chunk: Uint8Array): void {
    this.#kept = Buffer.concat([this.#kept, chunk]).subarray(-KEPT);
  }

  /** Whole lines, the last ten; "" when there was no output. */
  text(): string {
    const lines = this.#kept.toString("utf8").trimEnd().split(/\r?\n/);
    const whole = this.#kept.length < KEPT ? lines : lines.slice(1);
    return whole.slice(-LINES).join("\n");
  }
}
