import type { ByteReader } from "./byte-reader.js";

/**
 * git's pkt-lines (gitprotocol-common): four hexadecimal digits of a length that counts themselves, then the payload.
 * The lengths 0 to 2 are marks without one.
 */
export type Packet =
  | { readonly kind: "data"; readonly payload: Buffer }
  | { readonly kind: "flush" | "delimiter" | "response-end" };

export const FLUSH = "0000";
/** Ends an answer where several follow on one stream (protocol version 2). */
export const RESPONSE_END = "0002";

const HEADER = 4;
const MARKS = ["flush", "delimiter", "response-end"] as const;

/** A request holds the ids that are there and that are wanted, a line each; it has to be sent twice where a login is asked for. */
const MAX_REQUEST = 64 * 1024 * 1024; // bytes

/** A packet with its header. */
export function packet(payload: string): string {
  return (Buffer.byteLength(payload) + HEADER).toString(16).padStart(HEADER, "0") + payload;
}

/** `undefined` at the end of the stream. @throws Error for what is no packet */
export async function readPacket(reader: ByteReader): Promise<Packet | undefined> {
  const header = await reader.take(HEADER);
  if (header === undefined) return undefined;
  const length = lengthOf(header);
  const mark = MARKS[length];
  if (mark !== undefined) return { kind: mark };
  const payload = await reader.take(length - HEADER);
  if (payload === undefined) throw new Error("the stream ended early");
  return { kind: "data", payload };
}

/**
 * The packets up to a flush: with their headers and the flush (as version 2 sends them on), or their payloads alone.
 * `undefined` at the end of the stream.
 * @throws Error for what are no packets, or too many
 */
export async function readRequest(
  reader: ByteReader,
  form: "framed" | "payload",
): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  for (;;) {
    const next = await readPacket(reader);
    if (next === undefined) {
      if (parts.length === 0) return undefined;
      throw new Error("the stream ended early");
    }
    if (form === "framed") parts.push(headerOf(next));
    if (next.kind === "flush") return Buffer.concat(parts);
    if (next.kind !== "data") continue;
    size += next.payload.length;
    if (size > MAX_REQUEST) throw new Error(`a request is larger than ${MAX_REQUEST} bytes`);
    parts.push(next.payload);
  }
}

/** Follows packets that pass by in pieces: an answer that was cut off must not be taken for a whole one. */
export class PacketTracker {
  /** Of the payload that passes by. */
  #missing = 0;
  #header = Buffer.alloc(0);

  /** @throws Error for what is no packet */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#missing > 0) {
        const taken = Math.min(this.#missing, chunk.length - at);
        this.#missing -= taken;
        at += taken;
        continue;
      }
      const part = chunk.subarray(at, at + HEADER - this.#header.length);
      at += part.length;
      this.#header = Buffer.concat([this.#header, part]);
      if (this.#header.length < HEADER) return;
      this.#missing = Math.max(0, lengthOf(this.#header) - HEADER);
      this.#header = Buffer.alloc(0);
    }
  }

  /** Whether the last packet is complete. */
  get isWhole(): boolean {
    return this.#missing === 0 && this.#header.length === 0;
  }
}

function headerOf(next: Packet): Buffer {
  const length = next.kind === "data" ? next.payload.length + HEADER : MARKS.indexOf(next.kind);
  return Buffer.from(length.toString(16).padStart(HEADER, "0"));
}

function lengthOf(header: Buffer): number {
  const text = header.toString("latin1");
  const length = /^[0-9a-f]{4}$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (length === 3 || Number.isNaN(length)) throw new Error("this is not git's protocol");
  return length;
}
