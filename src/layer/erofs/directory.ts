import type { LayerIndex } from "../layer-index.js";
import { BLOCK, DIRENT_SIZE } from "./format.js";

/** Instead of a child's node. */
export const SELF = -1;
export const PARENT = -2;

const DOT = 0x2e;
/** The longest name that a filesystem takes, and one byte to see that it is longer. */
const NAME_ROOM = 0x10000; // bytes: what an index may hold
const DOTS: Buffer = Buffer.from("..");

/** What is in a directory, in the order of the names' bytes; "." and ".." are in it. */
export class DirectoryEntries {
  readonly #index: LayerIndex;
  readonly #name: Buffer = Buffer.alloc(NAME_ROOM);

  constructor(index: LayerIndex) {
    this.#index = index;
  }

  /** The name is valid during the call. */
  each(directory: number, visit: (node: number, name: Buffer) => void): void {
    const { first, count } = this.#index.children(directory);
    let dots = 0;
    for (let node = first; node < first + count; node++) {
      const length = this.#index.copyName(node, this.#name);
      const name = this.#name.subarray(0, length);
      if (dots < 1 && isBehind(name, 1)) visit(SELF, DOTS.subarray(0, ++dots));
      if (dots === 1 && isBehind(name, 2)) visit(PARENT, DOTS.subarray(0, ++dots));
      visit(node, name);
    }
    if (dots < 1) visit(SELF, DOTS.subarray(0, ++dots));
    if (dots < 2) visit(PARENT, DOTS);
  }
}

/** Whether a name comes after that many dots. No name is "." or "..". */
function isBehind(name: Buffer, dots: number): boolean {
  for (let at = 0; at < dots; at++) {
    if (at >= name.length) return false;
    const byte = name[at] ?? 0;
    if (byte !== DOT) return byte > DOT;
  }
  return true;
}

/** Splits entries into blocks, each of which has the fixed parts first and then the names. */
export class DirectoryBlocks {
  /** Blocks that are full, or too full for the name that came next. */
  full = 0;
  /** Bytes of the last one. */
  tail = 0;

  /** @returns whether the entry begins a block that is not the first */
  add(nameLength: number): boolean {
    const size = DIRENT_SIZE + nameLength;
    const begins = this.tail + size > BLOCK;
    if (begins) {
      this.full += 1;
      this.tail = 0;
    }
    this.tail += size;
    return begins;
  }
}

/** One block of a directory while it is filled. */
export class DirentBlock {
  readonly #fixed: Buffer = Buffer.alloc(BLOCK);
  readonly #names: Buffer = Buffer.alloc(BLOCK);
  readonly #out: Buffer = Buffer.alloc(BLOCK);
  readonly #ends: number[] = [];
  #namesLength = 0;

  /** There is room: {@link DirectoryBlocks} knows. */
  add(nid: number, type: number, name: Buffer): void {
    const at = this.#ends.length * DIRENT_SIZE;
    this.#fixed.writeUInt32LE(nid, at);
    this.#fixed.writeUInt32LE(0, at + 4);
    this.#fixed[at + 10] = type;
    this.#fixed[at + 11] = 0;
    name.copy(this.#names, this.#namesLength);
    this.#ends.push(this.#namesLength);
    this.#namesLength += name.length;
  }

  /** The block without the zeros at its end, valid until the next call; then it is empty. */
  take(): Buffer {
    const names = this.#ends.length * DIRENT_SIZE;
    for (const [i, offset] of this.#ends.entries())
      this.#fixed.writeUInt16LE(names + offset, i * DIRENT_SIZE + 8);
    this.#fixed.copy(this.#out, 0, 0, names);
    this.#names.copy(this.#out, names, 0, this.#namesLength);
    const length = names + this.#namesLength;
    this.#out.fill(0, length);
    this.#ends.length = 0;
    this.#namesLength = 0;
    return this.#out.subarray(0, length);
  }
}
