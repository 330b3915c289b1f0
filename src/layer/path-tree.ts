import type { SpillFile } from "../internal/spill-file.js";
import { FIELD, OPAQUE } from "./index-format.js";
import { RecordTable } from "./index-records.js";
import { decodeName } from "./path-bytes.js";

const ROOT = 0;
const DIRECTORY = 0;
const OTHER = 1;
/** Bytes. Whoever fills such a tree and reads it goes from neighbour to neighbour. */
const RESIDENT = 1024 * 1024;

/**
 * A tree of names in bounded memory, see {@link RecordTable}, for those who keep what the names stand for elsewhere: at
 * each node is a number of theirs, or none. Nodes are numbers, the root is 0. A new node is a directory.
 */
export class PathTree {
  readonly #table: RecordTable;

  /** @param spill Stays the caller's. */
  constructor(spill: SpillFile) {
    this.#table = new RecordTable(spill, RESIDENT);
    this.#table.add(ROOT, "");
  }

  /** The child of that name; `undefined` when there is none. Not once it is frozen. */
  find(parent: number, name: string): number | undefined {
    return this.#table.find(parent, name);
  }

  /** The same, made when there is none. */
  make(parent: number, name: string): number {
    return this.#table.find(parent, name) ?? this.#table.add(parent, name);
  }

  /** The children of a directory, by the bytes of their names. */
  children(node: number): Uint32Array {
    return this.#table.sortedChildren(node);
  }

  /** The child of that name among all of a directory. */
  findAmong(children: Uint32Array, name: string): number | undefined {
    return this.#table.findSorted(children, name);
  }

  nameOf(node: number): string {
    return decodeName(this.#table.nameOf(node));
  }

  isDirectory(node: number): boolean {
    return this.#byte(node, FIELD.type) === DIRECTORY;
  }

  isOpaque(node: number): boolean {
    return this.#byte(node, FIELD.flags) === OPAQUE;
  }

  /** The number at the node; `undefined` when there is none. */
  reference(node: number): number | undefined {
    const reference = this.#table
      .chunkOf(node)
      .readDoubleLE(this.#table.at(node) + FIELD.dataOffset);
    return reference === 0 ? undefined : reference - 1;
  }

  /** Puts a number at the node: what it is becomes this, and what no directory can have below it is forgotten. */
  set(node: number, reference: number, is: "directory" | "opaque directory" | "other"): void {
    if (is === "other") this.#table.clear(node);
    const chunk = this.#table.chunkOf(node);
    const at = this.#table.at(node);
    chunk[at + FIELD.type] = is === "other" ? OTHER : DIRECTORY;
    chunk[at + FIELD.flags] = is === "opaque directory" ? OPAQUE : 0;
    chunk.writeDoubleLE(reference + 1, at + FIELD.dataOffset);
  }

  /** Nothing changes any more. */
  freeze(): void {
    this.#table.freeze();
  }

  #byte(node: number, field: number): number {
    return this.#table.chunkOf(node)[this.#table.at(node) + field] ?? 0;
  }
}
