import { FIELD, RECORD_SIZE } from "./index-format.js";

/** What a node needs while it is being built, behind its record. */
const NEXT_SIBLING = RECORD_SIZE;
const NEXT_IN_BUCKET = RECORD_SIZE + 4;
const PARENT = RECORD_SIZE + 8;
const STRIDE = RECORD_SIZE + 12;
const PER_CHUNK = 1 << 13;
const NAME_CHUNK = 1 << 18; // bytes
const NONE = 0xffff_ffff;

/**
 * The nodes of an index while they arrive: packed records in chunks that never move, names beside them, and a hash
 * table from (parent, name) to node. A million nodes stay below 100 MB.
 */
export class RecordTable {
  readonly #chunks: Buffer[] = [];
  readonly #names: Buffer[] = [];
  #nameEnd = 0;
  #count = 0;
  #buckets = new Uint32Array(1 << 12).fill(NONE);
  #scratch = Buffer.allocUnsafe(1024);
  #scratchLength = 0;

  get count(): number {
    return this.#count;
  }

  get names(): readonly Buffer[] {
    return this.#names;
  }

  get namesLength(): number {
    return this.#nameEnd;
  }

  chunkOf(node: number): Buffer {
    const chunk = this.#chunks[node >>> 13];
    if (chunk === undefined) throw new RangeError(`no index node ${node}`);
    return chunk;
  }

  /** Where the node's record begins in its chunk. */
  at(node: number): number {
    return (node & (PER_CHUNK - 1)) * STRIDE;
  }

  parent(node: number): number {
    return this.chunkOf(node).readUInt32LE(this.at(node) + PARENT);
  }

  nextSibling(node: number): number {
    return this.chunkOf(node).readUInt32LE(this.at(node) + NEXT_SIBLING);
  }

  /** The children in the reverse of the order in which they came. */
  *children(node: number): Generator<number, void, void> {
    const chunk = this.chunkOf(node);
    for (
      let child = chunk.readUInt32LE(this.at(node) + FIELD.firstChild);
      child !== 0;
      child = this.nextSibling(child)
    ) {
      yield child;
    }
  }

  nameOf(node: number): Buffer {
    const chunk = this.chunkOf(node);
    const at = this.at(node);
    const offset = chunk.readUInt32LE(at);
    const within = offset % NAME_CHUNK;
    const names = this.#names[(offset - within) / NAME_CHUNK] ?? this.#scratch;
    return names.subarray(within, within + chunk.readUInt16LE(at + FIELD.nameLength));
  }

  /** The child with these bytes as its name; `undefined` when there is none. */
  find(parent: number, name: Buffer | string): number | undefined {
    this.#load(name);
    let node = this.#buckets[this.#bucket(parent)] ?? NONE;
    while (node !== NONE) {
      if (this.parent(node) === parent && this.#isLoaded(node)) return node;
      node = this.chunkOf(node).readUInt32LE(this.at(node) + NEXT_IN_BUCKET);
    }
    return undefined;
  }

  /** Adds a child that is not there yet; every field but its name is 0. The first node of all is the root. */
  add(parent: number, name: Buffer | string): number {
    this.#load(name);
    const node = this.#count;
    if (node % PER_CHUNK === 0) this.#chunks.push(Buffer.alloc(PER_CHUNK * STRIDE));
    this.#count += 1;
    const chunk = this.chunkOf(node);
    const at = this.at(node);
    chunk.writeUInt32LE(this.#store(), at);
    chunk.writeUInt16LE(this.#scratchLength, at + FIELD.nameLength);
    chunk.writeUInt32LE(node === 0 ? NONE : parent, at + PARENT);
    if (node === 0) return node;
    const above = this.chunkOf(parent);
    const aboveAt = this.at(parent);
    chunk.writeUInt32LE(above.readUInt32LE(aboveAt + FIELD.firstChild), at + NEXT_SIBLING);
    above.writeUInt32LE(node, aboveAt + FIELD.firstChild);
    above.writeUInt32LE(above.readUInt32LE(aboveAt + FIELD.children) + 1, aboveAt + FIELD.children);
    if (this.#count > this.#buckets.length) this.#grow();
    else this.#link(node, this.#bucket(parent));
    return node;
  }

  /** Forgets everything below a node: something else has taken the directory's place. */
  clear(node: number): void {
    for (const child of this.children(node)) {
      if (this.chunkOf(child)[this.at(child) + FIELD.type] === 0) this.clear(child);
      this.#unlink(child);
    }
    this.chunkOf(node).fill(
      0,
      this.at(node) + FIELD.firstChild,
      this.at(node) + FIELD.children + 4,
    );
  }

  #load(name: Buffer | string): void {
    if (typeof name !== "string") {
      if (name.length > this.#scratch.length) this.#scratch = Buffer.allocUnsafe(name.length);
      this.#scratchLength = name.copy(this.#scratch);
      return;
    }
    if (name.length * 3 > this.#scratch.length) this.#scratch = Buffer.allocUnsafe(name.length * 3);
    this.#scratchLength = this.#scratch.write(name);
  }

  #isLoaded(node: number): boolean {
    const name = this.nameOf(node);
    return (
      name.length === this.#scratchLength &&
      name.compare(this.#scratch, 0, this.#scratchLength) === 0
    );
  }

  #bucket(parent: number): number {
    let hash = Math.imul(parent + 1, 0x9e3779b1);
    for (let i = 0; i < this.#scratchLength; i++) {
      hash = Math.imul(hash ^ (this.#scratch[i] ?? 0), 0x01000193);
    }
    return (hash ^ (hash >>> 15)) & (this.#buckets.length - 1);
  }

  /** Copies the loaded name into the area of names. A name never lies in two chunks. */
  #store(): number {
    const room = NAME_CHUNK - (this.#nameEnd % NAME_CHUNK);
    if (this.#scratchLength > room) this.#nameEnd += room;
    if (Math.ceil((this.#nameEnd + 1) / NAME_CHUNK) > this.#names.length)
      this.#names.push(Buffer.alloc(NAME_CHUNK));
    const offset = this.#nameEnd;
    this.#names.at(-1)?.set(this.#scratch.subarray(0, this.#scratchLength), offset % NAME_CHUNK);
    this.#nameEnd += this.#scratchLength;
    return offset;
  }

  #link(node: number, bucket: number): void {
    this.chunkOf(node).writeUInt32LE(this.#buckets[bucket] ?? NONE, this.at(node) + NEXT_IN_BUCKET);
    this.#buckets[bucket] = node;
  }

  #unlink(node: number): void {
    this.#load(this.nameOf(node));
    const bucket = this.#bucket(this.parent(node));
    const next = this.chunkOf(node).readUInt32LE(this.at(node) + NEXT_IN_BUCKET);
    let before = this.#buckets[bucket] ?? NONE;
    if (before === node) this.#buckets[bucket] = next;
    while (before !== NONE && before !== node) {
      const at = this.at(before) + NEXT_IN_BUCKET;
      const chunk = this.chunkOf(before);
      before = chunk.readUInt32LE(at);
      if (before === node) chunk.writeUInt32LE(next, at);
    }
    this.chunkOf(node).writeUInt32LE(NONE, this.at(node) + PARENT);
  }

  #grow(): void {
    this.#buckets = new Uint32Array(this.#buckets.length * 2).fill(NONE);
    for (let node = 1; node < this.#count; node++) {
      const parent = this.parent(node);
      if (parent === NONE) continue;
      this.#load(this.nameOf(node));
      this.#link(node, this.#bucket(parent));
    }
  }
}
