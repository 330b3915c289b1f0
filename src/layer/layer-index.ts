import { crc32 } from "node:zlib";
import { TsbuildError } from "../errors.js";
import { type DiffId, diffIdFromHex } from "../oci/digest.js";
import {
  ATTRIBUTE,
  FIELD,
  HEADER,
  HEADER_SIZE,
  MAGIC,
  NODE_TYPES,
  type NodeType,
  RECORD_SIZE,
} from "./index-format.js";
import { decodeName } from "./path-bytes.js";

/** What few entries have. */
export interface NodeAttributes {
  linkTarget?: string;
  devMajor?: number;
  devMinor?: number;
  xattrs: Map<string, Uint8Array>;
  sparse?: readonly number[];
  content?: Uint8Array;
}

/**
 * The index of one layer: its entries without their bytes. Nodes are numbers, the root is 0. Immutable; reads straight
 * from the file's bytes.
 */
export class LayerIndex {
  readonly diffId: DiffId;
  /** Bytes of the layer's tar. */
  readonly uncompressedSize: number;
  /** Entries of the layer's tar, whiteouts included. */
  readonly entries: number;
  readonly nodes: number;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #names: number;
  readonly #attributes: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.diffId = diffIdFromHex(bytes.toString("hex", HEADER.diffId, HEADER.diffId + 32));
    this.uncompressedSize = this.#view.getFloat64(HEADER.uncompressedSize, true);
    this.entries = this.#view.getUint32(HEADER.entries, true);
    this.nodes = this.#view.getUint32(HEADER.nodes, true);
    this.#names = HEADER_SIZE + this.nodes * RECORD_SIZE;
    this.#attributes = this.#names + this.#view.getUint32(HEADER.namesLength, true);
  }

  type(node: number): NodeType {
    return NODE_TYPES[this.#view.getUint8(this.#at(node) + FIELD.type)] ?? "file";
  }

  /** See IMPLIED, OPAQUE and REPLACES. */
  flags(node: number): number {
    return this.#view.getUint8(this.#at(node) + FIELD.flags);
  }

  name(node: number): string {
    const at = this.#nameAt(node);
    return decodeName(this.#bytes.subarray(at, at + this.#nameLength(node)));
  }

  /** The node numbers of a directory's children: from the first, ascending by their names' bytes. */
  children(directory: number): { readonly first: number; readonly count: number } {
    const at = this.#at(directory);
    return {
      first: this.#view.getUint32(at + FIELD.firstChild, true),
      count: this.#view.getUint32(at + FIELD.children, true),
    };
  }

  /** The child whose name is the first `length` bytes of `name`; -1 when there is none. */
  find(directory: number, name: Buffer, length: number): number {
    const at = this.#at(directory);
    let low = this.#view.getUint32(at + FIELD.firstChild, true);
    let high = low + this.#view.getUint32(at + FIELD.children, true) - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = this.#compare(middle, name, length);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  mode(node: number): number {
    return this.#view.getUint16(this.#at(node) + FIELD.mode, true);
  }

  uid(node: number): number {
    return this.#view.getUint32(this.#at(node) + FIELD.uid, true);
  }

  gid(node: number): number {
    return this.#view.getUint32(this.#at(node) + FIELD.gid, true);
  }

  mtimeNs(node: number): bigint {
    const at = this.#at(node);
    const seconds = BigInt(this.#view.getFloat64(at + FIELD.mtimeSeconds, true));
    return (
      seconds * 1_000_000_000n + BigInt(this.#view.getUint32(at + FIELD.mtimeNanoseconds, true))
    );
  }

  /** Bytes; 0 of a directory. */
  size(node: number): number {
    return this.type(node) === "directory"
      ? 0
      : this.#view.getFloat64(this.#at(node) + FIELD.size, true);
  }

  /** Where the file's stored bytes begin in the uncompressed tar. */
  dataOffset(node: number): number {
    return this.#view.getFloat64(this.#at(node) + FIELD.dataOffset, true);
  }

  /** 0 when the file has one name. */
  linkGroup(node: number): number {
    return this.#view.getUint32(this.#at(node) + FIELD.linkGroup, true);
  }

  attributes(node: number): NodeAttributes | undefined {
    const slot = this.#view.getUint32(this.#at(node) + FIELD.attributes, true);
    if (slot === 0) return undefined;
    const found: NodeAttributes = { xattrs: new Map() };
    for (let at = this.#attributes + slot - 1; this.#bytes[at] !== ATTRIBUTE.end;) {
      const length = this.#view.getUint32(at + 1, true);
      addAttribute(found, this.#bytes[at] ?? 0, this.#bytes.subarray(at + 5, at + 5 + length));
      at += 5 + length;
    }
    return found;
  }

  #at(node: number): number {
    return HEADER_SIZE + node * RECORD_SIZE;
  }

  #nameAt(node: number): number {
    return this.#names + this.#view.getUint32(this.#at(node) + FIELD.nameOffset, true);
  }

  #nameLength(node: number): number {
    return this.#view.getUint16(this.#at(node) + FIELD.nameLength, true);
  }

  #compare(node: number, name: Buffer, length: number): number {
    const start = this.#nameAt(node);
    const own = this.#nameLength(node);
    const shorter = Math.min(own, length);
    for (let i = 0; i < shorter; i++) {
      const difference = (this.#bytes[start + i] ?? 0) - (name[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return own - length;
  }
}

/** Opens the bytes of an index file. @throws TsbuildError STORE_FAILED when they are damaged or of another version */
export function openIndex(bytes: Uint8Array): LayerIndex {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer.length < HEADER_SIZE || !buffer.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged("it is none, or one of another version");
  }
  const areas =
    buffer.readUInt32LE(HEADER.nodes) * RECORD_SIZE +
    buffer.readUInt32LE(HEADER.namesLength) +
    buffer.readUInt32LE(HEADER.attributesLength);
  if (buffer.length !== HEADER_SIZE + areas) throw damaged("its length is wrong");
  const sum = crc32(buffer.subarray(HEADER_SIZE));
  if (sum !== buffer.readUInt32LE(HEADER.crc32)) throw damaged("its checksum is wrong");
  return new LayerIndex(buffer);
}

function addAttribute(to: NodeAttributes, tag: number, value: Buffer): void {
  switch (tag) {
    case ATTRIBUTE.linkTarget:
      to.linkTarget = decodeName(value);
      break;
    case ATTRIBUTE.device:
      to.devMajor = value.readUInt32LE(0);
      to.devMinor = value.readUInt32LE(4);
      break;
    case ATTRIBUTE.xattr: {
      const end = 2 + value.readUInt16LE(0);
      to.xattrs.set(decodeName(value.subarray(2, end)), value.subarray(end));
      break;
    }
    case ATTRIBUTE.sparse:
      to.sparse = Array.from({ length: value.length / 8 }, (_, i) => value.readDoubleLE(i * 8));
      break;
    case ATTRIBUTE.content:
      to.content = value;
      break;
    default: // a tag that only a later version of this format would write
  }
}

function damaged(because: string): TsbuildError {
  return new TsbuildError("STORE_FAILED", `tried to open a layer's index: ${because}`, {
    hint: "delete it: it is made anew from the layer",
  });
}
