import { TsbuildError } from "../errors.js";
import { ByteLog } from "../internal/byte-log.js";
import type { SpillFile } from "../internal/spill-file.js";
import { ATTRIBUTE } from "./index-format.js";
import { decodeName, encodeName } from "./path-bytes.js";
import type { SparseMap } from "./tar/sparse.js";
import type { TarHeader } from "./tar/writer.js";

const HEAD = 5; // bytes
const MAX_DEVICE = 0xffff_ffff;
const RESIDENT = 1024 * 1024; // bytes
/** A kilobyte for each of a million links: nothing that is meant to be used comes near it. */
const MAX_LENGTH = 2 ** 30; // bytes

/** An index's attributes while they arrive. A slot is what a record has in its `attributes`: 0 for none. */
export class AttributeLog {
  readonly #bytes: ByteLog;

  /** @param spill Stays the caller's. */
  constructor(spill: SpillFile) {
    this.#bytes = new ByteLog(spill, RESIDENT);
  }

  /** Bytes. */
  get length(): number {
    return this.#bytes.length;
  }

  /** Keeps what an entry has. @returns its slot @throws TsbuildError STORE_FAILED when it is too much */
  add(entry: TarHeader, sparse: SparseMap | undefined): number {
    const parts = [...attributesOf(entry, sparse)];
    if (parts.length === 0) return 0;
    return this.#keep(Buffer.concat([...parts, Buffer.of(ATTRIBUTE.end)]), entry.path);
  }

  /** Adds a file's bytes to a slot's attributes. @returns their new slot */
  withContent(slot: number, content: Uint8Array, path: string): number {
    const before = slot === 0 ? Buffer.alloc(0) : this.#list(slot - 1);
    const list = [before, attribute(ATTRIBUTE.content, content), Buffer.of(ATTRIBUTE.end)];
    return this.#keep(Buffer.concat(list), path);
  }

  /** The text of a link's target; "" where there is none. */
  linkTarget(slot: number): string {
    if (slot === 0) return "";
    const { tag, length } = this.#at(slot - 1);
    return tag === ATTRIBUTE.linkTarget
      ? decodeName(this.#bytes.read(slot - 1 + HEAD, length))
      : "";
  }

  /** Nothing is added any more. */
  freeze(): void {
    this.#bytes.freeze();
  }

  /** The area of attributes, in pieces that are good until the next one. */
  pieces(): Generator<Buffer, void, void> {
    return this.#bytes.pieces();
  }

  #keep(list: Buffer, path: string): number {
    if (this.#bytes.length + list.length <= MAX_LENGTH) return this.#bytes.append(list) + 1;
    throw new TsbuildError(
      "STORE_FAILED",
      `tried to index "${path.slice(0, 200)}": the links and extended attributes of its layer are larger than 1 GiB`,
    );
  }

  #at(offset: number): { readonly tag: number; readonly length: number } {
    const [tag = ATTRIBUTE.end] = this.#bytes.read(offset, 1);
    if (tag === ATTRIBUTE.end) return { tag, length: 0 };
    return { tag, length: this.#bytes.read(offset + 1, HEAD - 1).readUInt32LE() };
  }

  /** A list without its end. */
  #list(offset: number): Buffer {
    let end = offset;
    for (let next = this.#at(end); next.tag !== ATTRIBUTE.end;) {
      end += HEAD + next.length;
      next = this.#at(end);
    }
    return this.#bytes.read(offset, end - offset);
  }
}

function* attributesOf(entry: TarHeader, sparse: SparseMap | undefined): Generator<Buffer> {
  if (entry.type === "symlink" || entry.type === "hardlink")
    yield attribute(ATTRIBUTE.linkTarget, encodeName(entry.linkTarget ?? ""));
  if (entry.type === "char" || entry.type === "block") {
    const device = Buffer.alloc(8);
    device.writeUInt32LE(Math.min(entry.devMajor ?? 0, MAX_DEVICE), 0);
    device.writeUInt32LE(Math.min(entry.devMinor ?? 0, MAX_DEVICE), 4);
    yield attribute(ATTRIBUTE.device, device);
  }
  for (const [name, value] of entry.xattrs) {
    const key = encodeName(name);
    const length = Buffer.alloc(2);
    length.writeUInt16LE(key.length);
    yield attribute(ATTRIBUTE.xattr, Buffer.concat([length, key, value]));
  }
  if (sparse !== undefined)
    yield attribute(ATTRIBUTE.sparse, Buffer.from(Float64Array.from(sparse).buffer));
}

function attribute(tag: number, value: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(HEAD + value.length);
  out[0] = tag;
  out.writeUInt32LE(value.length, 1);
  out.set(value, HEAD);
  return out;
}
