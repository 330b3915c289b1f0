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
import { type IndexBytes, bytesInMemory, bytesOfFile } from "./index-bytes.js";
import type { IndexPages } from "./index-pages.js";
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
 * from the file's bytes, wherever they are.
 */
export class LayerIndex {
  readonly diffId: DiffId;
  /** Bytes of the layer's tar. */
  readonly uncompressedSize: number;
  /** Entries of the layer's tar, whiteouts included. */
  readonly entries: number;
  readonly nodes: number;
  readonly #bytes: IndexBytes;
  readonly #names: number;
  readonly #attributes: number;

  constructor(bytes: IndexBytes) {
    const at = bytes.locate(0, HEADER_SIZE);
    const header = bytes.buffer.subarray(at, at + HEADER_SIZE);
    this.#bytes = bytes;
    this.diffId = diffIdFromHex(header.toString("hex", HEADER.diffId, HEADER.diffId + 32));
    this.uncompressedSize = header.readDoubleLE(HEADER.uncompressedSize);
    this.entries = header.readUInt32LE(HEADER.entries);
    this.nodes = header.readUInt32LE(HEADER.nodes);
    this.#names = HEADER_SIZE + this.nodes * RECORD_SIZE;
    this.#attributes = this.#names + header.readUInt32LE(HEADER.namesLength);
  }

  type(node: number): NodeType {
    return NODE_TYPES[this.#u8(node, FIELD.type)] ?? "file";
  }

  /** See IMPLIED, OPAQUE and REPLACES. */
  flags(node: number): number {
    return this.#u8(node, FIELD.flags);
  }

  /** The name's bytes, into a buffer that has room for them. @returns how many they are */
  copyName(node: number, to: Buffer): number {
    const length = this.#nameLength(node);
    const at = this.#bytes.locate(this.#nameAt(node), length);
    return this.#bytes.buffer.copy(to, 0, at, at + length);
  }

  name(node: number): string {
    const length = this.#nameLength(node);
    const at = this.#bytes.locate(this.#nameAt(node), length);
    return decodeName(this.#bytes.buffer.subarray(at, at + length));
  }

  /** The node numbers of a directory's children: from the first, ascending by their names' bytes. */
  children(directory: number): { readonly first: number; readonly count: number } {
    return {
      first: this.#u32(directory, FIELD.firstChild),
      count: this.#u32(directory, FIELD.children),
    };
  }

  /** The child whose name is the first `length` bytes of `name`; -1 when there is none. */
  find(directory: number, name: Buffer, length: number): number {
    let low = this.#u32(directory, FIELD.firstChild);
    let high = low + this.#u32(directory, FIELD.children) - 1;
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
    const at = this.#locate(node);
    return this.#bytes.buffer.readUInt16LE(at + FIELD.mode);
  }

  uid(node: number): number {
    return this.#u32(node, FIELD.uid);
  }

  gid(node: number): number {
    return this.#u32(node, FIELD.gid);
  }

  mtimeNs(node: number): bigint {
    const seconds = BigInt(this.#double(node, FIELD.mtimeSeconds));
    return seconds * 1_000_000_000n + BigInt(this.#u32(node, FIELD.mtimeNanoseconds));
  }

  /** Whole seconds of the time, rounded down. */
  mtimeSeconds(node: number): number {
    return this.#double(node, FIELD.mtimeSeconds);
  }

  /** What the time has beyond {@link mtimeSeconds}. */
  mtimeNanoseconds(node: number): number {
    return this.#u32(node, FIELD.mtimeNanoseconds);
  }

  /** Bytes; 0 of a directory. */
  size(node: number): number {
    return this.type(node) === "directory" ? 0 : this.#double(node, FIELD.size);
  }

  /** Where the file's stored bytes begin in the uncompressed tar. */
  dataOffset(node: number): number {
    return this.#double(node, FIELD.dataOffset);
  }

  /** 0 when the file has one name. */
  linkGroup(node: number): number {
    return this.#u32(node, FIELD.linkGroup);
  }

  attributes(node: number): NodeAttributes | undefined {
    const slot = this.#u32(node, FIELD.attributes);
    if (slot === 0) return undefined;
    const found: NodeAttributes = { xattrs: new Map() };
    for (let at = this.#attributes + slot - 1; ;) {
      const first = this.#bytes.locate(at, 1);
      const tag = this.#bytes.buffer[first] ?? ATTRIBUTE.end;
      if (tag === ATTRIBUTE.end) return found;
      const head = this.#bytes.locate(at + 1, 4);
      const length = this.#bytes.buffer.readUInt32LE(head);
      const start = this.#bytes.locate(at + 5, length);
      addAttribute(found, tag, this.#bytes.buffer.subarray(start, start + length));
      at += 5 + length;
    }
  }

  /** Brings a node's record into the buffer. */
  #locate(node: number): number {
    return this.#bytes.locate(HEADER_SIZE + node * RECORD_SIZE, RECORD_SIZE);
  }

  #u8(node: number, field: number): number {
    const at = this.#locate(node);
    return this.#bytes.buffer[at + field] ?? 0;
  }

  #u32(node: number, field: number): number {
    const at = this.#locate(node);
    return this.#bytes.buffer.readUInt32LE(at + field);
  }

  #double(node: number, field: number): number {
    const at = this.#locate(node);
    return this.#bytes.buffer.readDoubleLE(at + field);
  }

  #nameAt(node: number): number {
    return this.#names + this.#u32(node, FIELD.nameOffset);
  }

  #nameLength(node: number): number {
    const at = this.#locate(node);
    return this.#bytes.buffer.readUInt16LE(at + FIELD.nameLength);
  }

  #compare(node: number, name: Buffer, length: number): number {
    const own = this.#nameLength(node);
    const start = this.#bytes.locate(this.#nameAt(node), own);
    const bytes = this.#bytes.buffer;
    const shorter = Math.min(own, length);
    for (let i = 0; i < shorter; i++) {
      const difference = (bytes[start + i] ?? 0) - (name[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return own - length;
  }
}

/** Opens the bytes of an index. @throws TsbuildError STORE_FAILED when they are damaged or of another version */
export function openIndex(bytes: Uint8Array): LayerIndex {
  return checkedIndex(bytesInMemory(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)));
}

/**
 * Opens an index file, which nobody changes. Of a large one, parts are in memory.
 * @param pages Absent: memory of its own. @throws TsbuildError STORE_FAILED when it cannot be read, is damaged or of
 * another version
 */
export function openIndexFile(path: string, pages?: IndexPages): LayerIndex {
  return checkedIndex(bytesOfFile(path, pages));
}

function checkedIndex(bytes: IndexBytes): LayerIndex {
  const at = bytes.length < HEADER_SIZE ? 0 : bytes.locate(0, HEADER_SIZE);
  const header = Buffer.from(bytes.buffer.subarray(at, at + HEADER_SIZE));
  if (header.length < HEADER_SIZE || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged("it is none, or one of another version");
  }
  const areas =
    header.readUInt32LE(HEADER.nodes) * RECORD_SIZE +
    header.readUInt32LE(HEADER.namesLength) +
    header.readUInt32LE(HEADER.attributesLength);
  if (bytes.length !== HEADER_SIZE + areas) throw damaged("its length is wrong");
  let sum = 0;
  for (const piece of bytes.pieces(HEADER_SIZE)) sum = crc32(piece, sum);
  if (sum !== header.readUInt32LE(HEADER.crc32)) throw damaged("its checksum is wrong");
  return new LayerIndex(bytes);
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
      // Copied: the bytes of a large index are only there for the moment.
      to.xattrs.set(decodeName(value.subarray(2, end)), Buffer.from(value.subarray(end)));
      break;
    }
    case ATTRIBUTE.sparse:
      to.sparse = Array.from({ length: value.length / 8 }, (_, i) => value.readDoubleLE(i * 8));
      break;
    case ATTRIBUTE.content:
      to.content = Buffer.from(value);
      break;
    default: // a tag that only a later version of this format would write
  }
}

function damaged(because: string): TsbuildError {
  return new TsbuildError("STORE_FAILED", `tried to open a layer's index: ${because}`, {
    hint: "delete it: it is made anew from the layer",
  });
}
