import { randomBytes } from "node:crypto";
import { ByteLog } from "../internal/byte-log.js";
import { PagedBytes } from "../internal/paged-bytes.js";
import type { SpillFile } from "../internal/spill-file.js";
import { FIELD, RECORD_SIZE } from "./index-format.js";
import { encodeName } from "./path-bytes.js";
import { sortByName } from "./sort-names.js";
import { Uint32List } from "./uint32-list.js";

/** What a node needs while it is being built, behind its record. */
const NEXT_SIBLING = RECORD_SIZE;
const PARENT = RECORD_SIZE + 4;
const STRIDE = RECORD_SIZE + 8;
const PER_PAGE = 1 << 10;
/** Bytes of records that stay in memory, unless the user of a table knows better. */
const RESIDENT = 2 * 1024 * 1024;
const NAMES_PER_RECORDS = 0.5;
const NONE = 0xffff_ffff;
const PER_BUCKET = 2;
const ESCAPED = /[\udc80-\udcff]/;

/**
 * The nodes of an index, or of any other tree, while they arrive: packed records, names beside them, and a hash table
 * from (parent, name) to node. Of records and names, 3 MiB stay in memory, enough for most layers; of a million nodes
 * the rest is in the spill file, and 10 bytes of each here.
 */
export class RecordTable {
  readonly #records: PagedBytes;
  readonly #names: ByteLog;
  #count = 0;
  #buckets = new Uint32Array(1 << 11).fill(NONE);
  #hashes = new Uint32List();
  /** Of a node that was forgotten: itself. */
  #nextInBucket = new Uint32List();
  /** Nobody can tell beforehand which names fall into one bucket. */
  readonly #seed = randomBytes(4).readUInt32LE();
  #scratch = Buffer.allocUnsafe(1024);
  #scratchLength = 0;
  #isFrozen = false;

  /** @param resident Bytes of records that stay in memory; of names, half as many do. */
  constructor(spill: SpillFile, resident: number = RESIDENT) {
    const pageSize = PER_PAGE * STRIDE;
    this.#records = new PagedBytes(spill, { pageSize, resident: Math.ceil(resident / pageSize) });
    this.#names = new ByteLog(spill, resident * NAMES_PER_RECORDS);
  }

  get count(): number {
    return this.#count;
  }

  /** Where `nameOffset` of the records leads. */
  get names(): ByteLog {
    return this.#names;
  }

  /** Of the node's record: where it is, see {@link at}. Good until a few others have been looked at. */
  chunkOf(node: number): Buffer {
    if (node >= this.#count) throw new RangeError(`no index node ${node}`);
    return this.#records.page(node >>> 10);
  }

  /** Where the node's record begins in its chunk. */
  at(node: number): number {
    return (node & (PER_PAGE - 1)) * STRIDE;
  }

  /** Nothing changes any more, and nothing is asked of `find`: what it needs is given back. */
  freeze(): void {
    this.#records.freeze();
    this.#names.freeze();
    this.#isFrozen = true;
    this.#buckets = new Uint32Array(0);
    this.#hashes = new Uint32List();
    this.#nextInBucket = new Uint32List();
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

  /** The children by the bytes of their names. */
  sortedChildren(node: number): Uint32Array {
    const nodes = new Uint32Array(this.chunkOf(node).readUInt32LE(this.at(node) + FIELD.children));
    // Most come in their order.
    let at = nodes.length;
    for (const child of this.children(node)) nodes[--at] = child;
    sortByName(nodes, (child) => this.nameOf(child));
    return nodes;
  }

  /** Good until a few others have been looked at. */
  nameOf(node: number): Buffer {
    const chunk = this.chunkOf(node);
    const at = this.at(node);
    return this.#names.view(chunk.readUInt32LE(at), chunk.readUInt16LE(at + FIELD.nameLength));
  }

  /** The child with this name; `undefined` when there is none. */
  find(parent: number, name: string): number | undefined {
    if (this.#isFrozen) throw new RangeError("an index is asked after its end");
    this.#load(name);
    const hash = this.#hash(parent);
    let node = this.#buckets[hash & (this.#buckets.length - 1)] ?? NONE;
    while (node !== NONE) {
      if (this.#hashes.get(node) === hash && this.parent(node) === parent && this.#isLoaded(node))
        return node;
      node = this.#nextInBucket.get(node);
    }
    return undefined;
  }

  /** The one of some nodes, sorted by their names, that has this name. */
  findSorted(nodes: Uint32Array, name: string): number | undefined {
    this.#load(name);
    let low = 0;
    let high = nodes.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const node = nodes[middle] ?? 0;
      const order = this.nameOf(node).compare(this.#scratch, 0, this.#scratchLength);
      if (order === 0) return node;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  /** Adds a child that is not there yet; every field but its name is 0. The first node of all is the root. */
  add(parent: number, name: string): number {
    this.#load(name);
    const node = this.#count;
    if (node % PER_PAGE === 0) this.#records.add();
    this.#count += 1;
    this.#hashes.reserve(this.#count);
    this.#nextInBucket.reserve(this.#count);
    if (this.#count > this.#buckets.length * PER_BUCKET) this.#grow();
    const nameOffset = this.#names.appendWhole(this.#scratch.subarray(0, this.#scratchLength));
    const chunk = this.chunkOf(node);
    const at = this.at(node);
    chunk.writeUInt32LE(nameOffset, at);
    chunk.writeUInt16LE(this.#scratchLength, at + FIELD.nameLength);
    chunk.writeUInt32LE(node === 0 ? NONE : parent, at + PARENT);
    if (node === 0) return node;
    const above = this.chunkOf(parent);
    const aboveAt = this.at(parent);
    chunk.writeUInt32LE(above.readUInt32LE(aboveAt + FIELD.firstChild), at + NEXT_SIBLING);
    above.writeUInt32LE(node, aboveAt + FIELD.firstChild);
    above.writeUInt32LE(above.readUInt32LE(aboveAt + FIELD.children) + 1, aboveAt + FIELD.children);
    this.#link(node, this.#hash(parent));
    return node;
  }

  /** Forgets everything below a node: something else has taken the directory's place. */
  clear(node: number): void {
    const gone = [node];
    for (let each = gone.pop(); each !== undefined; each = gone.pop()) {
      for (const child of this.children(each)) {
        if (this.chunkOf(child)[this.at(child) + FIELD.type] === 0) gone.push(child);
        this.#unlink(child);
      }
      const at = this.at(each);
      this.chunkOf(each).fill(0, at + FIELD.firstChild, at + FIELD.children + 4);
    }
  }

  /** UTF-8 goes as text, escaped bytes as what they are. */
  #load(name: string): void {
    if (name.length * 3 > this.#scratch.length) this.#scratch = Buffer.allocUnsafe(name.length * 3);
    this.#scratchLength = ESCAPED.test(name)
      ? encodeName(name).copy(this.#scratch)
      : this.#scratch.write(name);
  }

  #isLoaded(node: number): boolean {
    const name = this.nameOf(node);
    return (
      name.length === this.#scratchLength &&
      name.compare(this.#scratch, 0, this.#scratchLength) === 0
    );
  }

  /** Of the loaded name. */
  #hash(parent: number): number {
    let hash = Math.imul(parent + 1, 0x9e3779b1) ^ this.#seed;
    for (let i = 0; i < this.#scratchLength; i++) {
      hash = Math.imul(hash ^ (this.#scratch[i] ?? 0), 0x01000193);
    }
    return (hash ^ (hash >>> 15)) >>> 0;
  }

  #link(node: number, hash: number): void {
    const bucket = hash & (this.#buckets.length - 1);
    this.#hashes.set(node, hash);
    this.#nextInBucket.set(node, this.#buckets[bucket] ?? NONE);
    this.#buckets[bucket] = node;
  }

  #unlink(node: number): void {
    const next = this.#nextInBucket;
    const bucket = this.#hashes.get(node) & (this.#buckets.length - 1);
    let before = this.#buckets[bucket] ?? NONE;
    if (before === node) this.#buckets[bucket] = next.get(node);
    while (before !== NONE && before !== node) {
      const behind = next.get(before);
      if (behind === node) next.set(before, next.get(node));
      before = behind;
    }
    next.set(node, node);
    this.chunkOf(node).writeUInt32LE(NONE, this.at(node) + PARENT);
  }

  #grow(): void {
    this.#buckets = new Uint32Array(this.#buckets.length * 2).fill(NONE);
    // The last one is being added, the first one is in no bucket.
    for (let node = 1; node < this.#count - 1; node++) {
      if (this.#nextInBucket.get(node) !== node) this.#link(node, this.#hashes.get(node));
    }
  }
}
