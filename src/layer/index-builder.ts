import { crc32 } from "node:zlib";
import { TsbuildError } from "../errors.js";
import type { SpillFile } from "../internal/spill-file.js";
import { type DiffId, hexOf } from "../oci/digest.js";
import { nameOf, parentOf } from "./entry-path.js";
import { writeAll } from "./fd.js";
import { AttributeLog } from "./index-attributes.js";
import {
  FIELD,
  HEADER,
  HEADER_SIZE,
  IMPLIED,
  MAGIC,
  NODE_TYPES,
  type NodeType,
  OPAQUE,
  RECORD_SIZE,
  REPLACES,
} from "./index-format.js";
import { RecordTable } from "./index-records.js";
import { decodeName } from "./path-bytes.js";
import type { SparseMap } from "./tar/sparse.js";
import type { TarHeader } from "./tar/writer.js";

const ROOT = 0;
const IMPLIED_MODE = 0o755;
const LONGEST_NAME = 0xffff;
/** What 32 bits can tell the places of. */
const MAX_NAMES = 2 ** 32 - 2 ** 17; // bytes
/** Records that are written at once. */
const BATCH = 4096;

/** Collects the entries of one layer as they pass, and writes the layer's index. Memory: see {@link RecordTable}. */
export class IndexBuilder {
  readonly #table: RecordTable;
  readonly #attributes: AttributeLog;
  #linkGroups = 0;
  #entries = 0;
  /** The directory that the last entry stood in: most entries follow their neighbours. */
  #lastDirectory: { path: string; node: number } = { path: "", node: ROOT };

  /** @param spill Stays the caller's. */
  constructor(spill: SpillFile) {
    this.#table = new RecordTable(spill);
    this.#attributes = new AttributeLog(spill);
    this.#table.add(ROOT, "");
    this.#makeImplied(ROOT);
  }

  /** Entries of the tar seen so far. */
  get entries(): number {
    return this.#entries;
  }

  /** The layer's own node at a path; symlinks are not followed. */
  find(path: string): number | undefined {
    if (path === "") return ROOT;
    const parent = this.#findDirectory(parentOf(path));
    return parent === undefined ? undefined : this.#table.find(parent, nameOf(path));
  }

  typeOf(node: number): NodeType {
    return NODE_TYPES[this.#byte(node, FIELD.type)] ?? "file";
  }

  /** True for a directory that hides what lower layers have at its path, or in it. */
  hidesLower(node: number): boolean {
    return (this.#byte(node, FIELD.flags) & (REPLACES | OPAQUE)) !== 0;
  }

  /** True for a directory that the layer has no entry for. */
  isImplied(node: number): boolean {
    return (this.#byte(node, FIELD.flags) & IMPLIED) !== 0;
  }

  /** Names of what stands in a directory of this layer, whiteouts left out. */
  *childrenOf(
    node: number,
  ): Generator<{ readonly name: string; readonly node: number }, void, void> {
    for (const child of this.#table.children(node)) {
      if (this.typeOf(child) !== "whiteout")
        yield { name: decodeName(this.#table.nameOf(child)), node: child };
    }
  }

  /** The text of a symlink's or unresolved hard link's target. */
  linkTargetOf(node: number): string {
    return this.#attributes.linkTarget(this.#u32(node, FIELD.attributes));
  }

  /** The path of a node. */
  pathOf(node: number): string {
    const names: string[] = [];
    for (let at = node; at !== ROOT; at = this.#table.parent(at))
      names.push(decodeName(this.#table.nameOf(at)));
    return names.toReversed().join("/");
  }

  /**
   * The directory at `path`, made when the layer does not have it; `made` hears of each such directory, parents
   * first. Gives `undefined` when a file of this layer is in the way.
   */
  directory(path: string, made?: (path: string, replaces: boolean) => void): number | undefined {
    if (path === this.#lastDirectory.path) return this.#lastDirectory.node;
    if (path === "") return ROOT;
    const parent = this.directory(parentOf(path), made);
    if (parent === undefined) return undefined;
    const key = nameOf(path);
    const found = this.#table.find(parent, key);
    if (found !== undefined && this.typeOf(found) === "directory") {
      this.#lastDirectory = { path, node: found };
      return found;
    }
    if (found !== undefined && this.typeOf(found) !== "whiteout") return undefined;
    const node = found ?? this.#table.add(parent, key);
    this.#makeImplied(node);
    if (found !== undefined) this.#setFlag(node, REPLACES);
    made?.(path, found !== undefined);
    this.#lastDirectory = { path, node };
    return node;
  }

  /** Adds or replaces an entry whose parent is a directory of this layer. */
  add(entry: TarHeader, dataOffset: number, sparse?: SparseMap): number {
    this.#entries += 1;
    const node = this.#place(entry.path, entry.type);
    const attributes = this.#attributes.add(entry, sparse);
    const chunk = this.#table.chunkOf(node);
    const at = this.#table.at(node);
    chunk[at + FIELD.type] = NODE_TYPES.indexOf(entry.type);
    chunk.writeUInt16LE(entry.mode, at + FIELD.mode);
    chunk.writeUInt32LE(entry.uid, at + FIELD.uid);
    chunk.writeUInt32LE(entry.gid, at + FIELD.gid);
    const nanoseconds = ((entry.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    chunk.writeUInt32LE(Number(nanoseconds), at + FIELD.mtimeNanoseconds);
    chunk.writeDoubleLE(
      Number((entry.mtimeNs - nanoseconds) / 1_000_000_000n),
      at + FIELD.mtimeSeconds,
    );
    if (entry.type !== "directory") {
      chunk.writeDoubleLE(entry.size, at + FIELD.size);
      chunk.writeDoubleLE(dataOffset, at + FIELD.dataOffset);
    }
    chunk.writeUInt32LE(attributes, at + FIELD.attributes);
    chunk.writeUInt32LE(0, at + FIELD.linkGroup);
    return node;
  }

  /** Another name for a file that the layer has: the same size, owner and bytes, and one link group. */
  addLink(path: string, target: number): number {
    this.#entries += 1;
    if (this.#u32(target, FIELD.linkGroup) === 0)
      this.#setU32(target, FIELD.linkGroup, ++this.#linkGroups);
    const start = this.#table.at(target);
    const described = Buffer.from(
      this.#table.chunkOf(target).subarray(start + FIELD.type, start + RECORD_SIZE),
    );
    const node = this.#place(path, this.typeOf(target));
    described[FIELD.flags - FIELD.type] = this.#byte(node, FIELD.flags);
    this.#table.chunkOf(node).set(described, this.#table.at(node) + FIELD.type);
    return node;
  }

  /** Hides a path of lower layers; an entry of this layer stays. */
  whiteout(path: string): void {
    this.#entries += 1;
    const parent = this.#parent(path);
    const key = nameOf(path);
    const found = this.#table.find(parent, key);
    if (found !== undefined) {
      if (this.typeOf(found) !== "whiteout") this.#setFlag(found, REPLACES);
      return;
    }
    const node = this.#table.add(parent, key);
    this.#table.chunkOf(node)[this.#table.at(node) + FIELD.type] = NODE_TYPES.indexOf("whiteout");
  }

  /** Hides everything that lower layers have in a directory of this layer. */
  opaque(directory: number): void {
    this.#entries += 1;
    this.#setFlag(directory, OPAQUE);
  }

  /** Keeps a file's bytes in the index. */
  setContent(node: number, content: Uint8Array): void {
    const slot = this.#u32(node, FIELD.attributes);
    const path = this.pathOf(node);
    this.#setU32(node, FIELD.attributes, this.#attributes.withContent(slot, content, path));
  }

  /** Writes the index to an empty file. @throws TsbuildError STORE_FAILED */
  write(fd: number, diffId: DiffId, uncompressedSize: number): void {
    const what = "a layer's index";
    this.#table.freeze();
    this.#attributes.freeze();
    const order = this.#arrange();
    writeAll(fd, Buffer.alloc(HEADER_SIZE), what);
    let sum = 0;
    const put = (bytes: Uint8Array): void => {
      sum = crc32(bytes, sum);
      writeAll(fd, bytes, what);
    };
    const buffer = Buffer.allocUnsafe(Math.min(BATCH, order.length) * RECORD_SIZE);
    // Directories come in the order in which their children do.
    let firstChild = 1;
    for (let start = 0; start < order.length; start += BATCH) {
      const batch = order.subarray(start, start + BATCH);
      for (const [i, node] of batch.entries()) {
        firstChild = this.#copyRecord(node, buffer, i * RECORD_SIZE, firstChild);
      }
      put(buffer.subarray(0, batch.length * RECORD_SIZE));
    }
    for (const names of this.#table.names.pieces()) put(names);
    for (const attributes of this.#attributes.pieces()) put(attributes);
    const header = Buffer.alloc(HEADER_SIZE);
    MAGIC.copy(header);
    header.write(hexOf(diffId), HEADER.diffId, "hex");
    header.writeDoubleLE(uncompressedSize, HEADER.uncompressedSize);
    header.writeUInt32LE(order.length, HEADER.nodes);
    header.writeUInt32LE(this.#table.names.length, HEADER.namesLength);
    header.writeUInt32LE(this.#attributes.length, HEADER.attributesLength);
    header.writeUInt32LE(this.#entries, HEADER.entries);
    header.writeUInt32LE(sum, HEADER.crc32);
    writeAll(fd, header, what, 0);
  }

  /** Gives what is the first child of the next directory. */
  #copyRecord(node: number, to: Buffer, at: number, firstChild: number): number {
    const start = this.#table.at(node);
    this.#table.chunkOf(node).copy(to, at, start, start + RECORD_SIZE);
    if (this.typeOf(node) !== "directory") return firstChild;
    const children = to.readUInt32LE(at + FIELD.children);
    to.writeUInt32LE(children === 0 ? 0 : firstChild, at + FIELD.firstChild);
    return firstChild + children;
  }

  /** Breadth first, each directory's children by their bytes. */
  #arrange(): Uint32Array {
    const order = new Uint32Array(this.#table.count);
    let end = 1;
    for (let i = 0; i < end; i++) {
      const node = order[i] ?? ROOT;
      if (this.typeOf(node) !== "directory") continue;
      const children = this.#table.sortedChildren(node);
      order.set(children, end);
      end += children.length;
    }
    return order.subarray(0, end);
  }

  #findDirectory(path: string): number | undefined {
    if (path === this.#lastDirectory.path) return this.#lastDirectory.node;
    if (path === "") return ROOT;
    const parent = this.#findDirectory(parentOf(path));
    const node = parent === undefined ? undefined : this.#table.find(parent, nameOf(path));
    return node !== undefined && this.typeOf(node) === "directory" ? node : undefined;
  }

  #parent(path: string): number {
    const parent = this.directory(parentOf(path));
    if (parent !== undefined && path !== "") return parent;
    throw new TsbuildError("INTERNAL", `tried to index "${path}": its parent is no directory`);
  }

  /** The node at `path`, ready to become a `type`. A directory that stays one keeps what is in it. */
  #place(path: string, type: NodeType): number {
    if (path === "") {
      this.#clearFlag(ROOT, IMPLIED);
      return ROOT;
    }
    const parent = this.#parent(path);
    const key = nameOf(path);
    if (key.length > LONGEST_NAME || this.#table.names.length > MAX_NAMES)
      throw new TsbuildError(
        "STORE_FAILED",
        `tried to index "${path.slice(0, 100)}...": its name is too long`,
      );
    const found = this.#table.find(parent, key);
    if (found === undefined) return this.#table.add(parent, key);
    const was = this.typeOf(found);
    // What lower layers have there is hidden, and stays so when a directory takes the place.
    if (was !== "directory") this.#setFlag(found, REPLACES);
    if (was === "directory" && type !== "directory") {
      this.#table.clear(found);
      this.#lastDirectory = { path: "", node: ROOT };
    }
    if (was !== "directory" && type === "directory") this.#clearChildren(found);
    if (was === "directory" && type !== "directory") this.#clearFlag(found, OPAQUE);
    this.#clearFlag(found, IMPLIED);
    return found;
  }

  #clearChildren(node: number): void {
    const at = this.#table.at(node);
    this.#table.chunkOf(node).fill(0, at + FIELD.size, at + FIELD.linkGroup + 4);
  }

  #makeImplied(node: number): void {
    const chunk = this.#table.chunkOf(node);
    const at = this.#table.at(node);
    this.#clearChildren(node);
    chunk[at + FIELD.type] = NODE_TYPES.indexOf("directory");
    chunk.writeUInt16LE(IMPLIED_MODE, at + FIELD.mode);
    this.#setFlag(node, IMPLIED);
  }

  #byte(node: number, field: number): number {
    return this.#table.chunkOf(node)[this.#table.at(node) + field] ?? 0;
  }

  #u32(node: number, field: number): number {
    return this.#table.chunkOf(node).readUInt32LE(this.#table.at(node) + field);
  }

  #setU32(node: number, field: number, value: number): void {
    this.#table.chunkOf(node).writeUInt32LE(value, this.#table.at(node) + field);
  }

  #setFlag(node: number, flag: number): void {
    this.#table.chunkOf(node)[this.#table.at(node) + FIELD.flags] =
      this.#byte(node, FIELD.flags) | flag;
  }

  #clearFlag(node: number, flag: number): void {
    this.#table.chunkOf(node)[this.#table.at(node) + FIELD.flags] =
      this.#byte(node, FIELD.flags) & ~flag;
  }
}
