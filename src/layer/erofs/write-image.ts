import { createHash } from "node:crypto";
import { ftruncateSync } from "node:fs";
import { unreachable } from "../../errors.js";
import { turn } from "../abort.js";
import { writeAll } from "../fd.js";
import type { LayerIndex } from "../layer-index.js";
import { BlockWriter } from "./block-writer.js";
import { checksumOf } from "./check-image.js";
import { DirectoryBlocks, DirectoryEntries, DirentBlock, PARENT, SELF } from "./directory.js";
import {
  BLOCK,
  BLOCK_BITS,
  COMPAT_MTIME,
  EXTENDED_INLINE,
  EXTENDED_PLAIN,
  FILE_TYPES,
  INCOMPAT_DEVICE_TABLE,
  INODE,
  INODES_AT,
  INODE_SIZE,
  MAGIC,
  NID_UNIT,
  roundUp,
  SLOT,
  SLOT_AT,
  SLOT_SIZE,
  SUPER,
  SUPER_AT,
  SUPER_SIZE,
  TAG_SIZE,
  VOLUME_NAME,
} from "./format.js";
import { type ImageForm, type NodeInode, type Nodes, openNodes } from "./nodes.js";
import {
  AT_ONCE,
  type DataShape,
  type ImagePlan,
  isTailInline,
  planImage,
  shapeOfBytes,
} from "./plan-image.js";
import { Refusal } from "./refusal.js";
import { wordsOf } from "./xattrs.js";

const WHAT = "a layer's image";
const MAX_SKIPPED = 20; // lines of a warning
const MAX_BLOCKS = 0xffff_ffff;

export interface ImageOptions extends ImageForm {
  /** Bytes of the tar that the index was made of. */
  readonly tarSize: number;
  /** What tells the image from every other one; the same each time. */
  readonly name: string;
  readonly signal: AbortSignal;
}

/** `refused`: the layer has something that an image cannot have; it has to be unpacked. */
export type ImageResult =
  | { readonly kind: "written"; readonly skipped: readonly string[] }
  | { readonly kind: "refused"; readonly because: string };

/**
 * Writes an EROFS image that shows a layer as a lower directory of an overlay mount: names and attributes are in it, the
 * files' bytes stay in the layer's tar, which is mounted as its one other device. `fd` is an empty file.
 * @throws TsbuildError STORE_FAILED, ABORTED
 */
export async function writeImage(
  index: LayerIndex,
  fd: number,
  options: ImageOptions,
): Promise<ImageResult> {
  const skipped: string[] = [];
  const skip = (node: number, because: string): void => {
    if (skipped.length < MAX_SKIPPED) skipped.push(`/${pathOf(index, node)}: ${because}`);
  };
  try {
    const nodes = openNodes(index, options, skip);
    const plan = await planImage(index, nodes, options.signal);
    const image = { index, nodes, plan, fd, options, skip };
    await new ImageWriter(image).write();
    writeHead(image);
    return { kind: "written", skipped };
  } catch (error) {
    if (error instanceof Refusal) return { kind: "refused", because: error.message };
    throw error;
  }
}

interface Image {
  readonly index: LayerIndex;
  readonly nodes: Nodes;
  readonly plan: ImagePlan;
  readonly fd: number;
  readonly options: ImageOptions;
  readonly skip: (node: number, because: string) => void;
}

/** Of the image itself: the tar's blocks are numbered on from there. */
function blocksOf({ dataAt, dataBlocks }: ImagePlan): number {
  return dataAt / BLOCK + dataBlocks;
}

/** Where a node's data is, in its inode. */
interface Place {
  readonly size: number;
  /** A block, or a device's number. */
  readonly place: number;
  /** What follows the inode. */
  readonly inline?: Buffer;
  readonly links: number;
}

interface OwnData {
  /** The first block. */
  readonly place: number;
  readonly shape: DataShape;
  /** What is not written yet. */
  readonly rest: Buffer;
  readonly links: number;
}

class ImageWriter {
  readonly #image: Image;
  readonly #inodes: BlockWriter;
  readonly #data: BlockWriter;
  readonly #entries: DirectoryEntries;
  readonly #block = new DirentBlock();
  readonly #inode: Buffer = Buffer.alloc(INODE_SIZE);
  /** The directory that the node being written stands in: children come in the order of their parents. */
  #parent = 0;
  #written = 0;

  constructor(image: Image) {
    this.#image = image;
    this.#inodes = new BlockWriter(image.fd, INODES_AT, WHAT);
    this.#data = new BlockWriter(image.fd, image.plan.dataAt, WHAT);
    this.#entries = new DirectoryEntries(image.index);
  }

  async write(): Promise<void> {
    const { index, nodes, plan, fd, options, skip } = this.#image;
    const tarBlocks = Math.floor(options.tarSize / BLOCK);
    if (blocksOf(plan) + tarBlocks > MAX_BLOCKS) throw new Refusal("it is larger than 2 TiB");
    ftruncateSync(fd, blocksOf(plan) * BLOCK);
    for (let node = 0; node < index.nodes; node++) {
      if (node % AT_ONCE === AT_ONCE - 1) await turn(options.signal);
      if (!nodes.isShown(node)) {
        skip(node, hiddenBecause(index.type(node) === "socket"));
        continue;
      }
      const group = index.linkGroup(node);
      if (group === 0 || plan.firsts[group] === node + 1) this.#node(node, group);
    }
    this.#inodes.flush();
    this.#data.flush();
  }

  #node(node: number, group: number): void {
    const inode = this.#image.nodes.inode(node);
    const links = group === 0 ? 1 : (this.#image.plan.names[group] ?? 1);
    this.#put(node, inode, this.#place(node, inode, links));
  }

  #place(node: number, inode: NodeInode, links: number): Place {
    const { index } = this.#image;
    const type = index.type(node);
    switch (type) {
      case "directory":
        return this.#directory(node, inode);
      case "symlink":
        return this.#ownData(inode, {
          place: this.#data.position / BLOCK,
          shape: shapeOfBytes(inode.target.length),
          rest: inode.target,
          links,
        });
      case "file":
        return { size: index.size(node), place: this.#placeOfFile(node), links };
      case "char":
      case "block":
        return { size: 0, place: inode.device, links };
      case "fifo":
      case "whiteout":
      case "socket":
      case "hardlink":
        return { size: 0, place: 0, links };
      default:
        return unreachable(type);
    }
  }

  #placeOfFile(node: number): number {
    const { index, plan, options } = this.#image;
    const size = index.size(node);
    if (size === 0) return 0;
    const offset = index.dataOffset(node);
    const end = offset + roundUp(size, BLOCK);
    if (offset % BLOCK !== 0 || end > options.tarSize)
      throw new Refusal(`the bytes of "${pathOf(index, node)}" are not in it`);
    return blocksOf(plan) + offset / BLOCK;
  }

  #directory(node: number, inode: NodeInode): Place {
    const { index, nodes, plan } = this.#image;
    const blocks = new DirectoryBlocks();
    const place = this.#data.position / BLOCK;
    const parent = this.#parentOf(node);
    let links = 2;
    this.#entries.each(node, (child, name) => {
      if (child >= 0 && !nodes.isShown(child)) return;
      if (blocks.add(name.length)) this.#putBlock(this.#block.take());
      const type = child < 0 ? "directory" : index.type(child);
      if (child >= 0 && type === "directory") links += 1;
      const shown = child === SELF ? node : child === PARENT ? parent : child;
      this.#block.add(plan.nids[shown] ?? 0, FILE_TYPES[type].code, name);
    });
    return this.#ownData(inode, { place, shape: blocks, rest: this.#block.take(), links });
  }

  /** Data of the image's own. Whole blocks may be written already; the rest goes behind the inode if that has room. */
  #ownData(inode: NodeInode, { place, shape, rest, links }: OwnData): Place {
    const size = shape.full * BLOCK + shape.tail;
    if (isTailInline(shape, inode.xattrs, inode.target))
      return { size, place, inline: rest, links };
    this.#putBlock(rest);
    return { size, place, links };
  }

  #putBlock(bytes: Buffer): void {
    this.#data.write(bytes);
    this.#data.padTo(roundUp(this.#data.position, BLOCK));
  }

  #parentOf(node: number): number {
    if (node === 0) return 0;
    const { index } = this.#image;
    for (; ; this.#parent++) {
      if (index.type(this.#parent) !== "directory") continue;
      const { first, count } = index.children(this.#parent);
      if (node < first + count) return this.#parent;
    }
  }

  #put(node: number, told: NodeInode, place: Place): void {
    const inode = this.#inode.fill(0);
    const format = place.inline === undefined ? EXTENDED_PLAIN : EXTENDED_INLINE;
    inode.writeUInt16LE(format, INODE.format);
    inode.writeUInt16LE(wordsOf(told.xattrs), INODE.xattrWords);
    inode.writeUInt16LE(told.mode, INODE.mode);
    write64(inode, INODE.size, place.size);
    inode.writeUInt32LE(place.place, INODE.place);
    inode.writeUInt32LE(++this.#written, INODE.number);
    inode.writeUInt32LE(told.uid, INODE.uid);
    inode.writeUInt32LE(told.gid, INODE.gid);
    write64(inode, INODE.mtimeSeconds, told.seconds);
    inode.writeUInt32LE(told.nanoseconds, INODE.mtimeNanoseconds);
    inode.writeUInt32LE(place.links, INODE.links);
    this.#inodes.padTo((this.#image.plan.nids[node] ?? 0) * NID_UNIT);
    this.#inodes.write(inode);
    this.#inodes.write(told.xattrs);
    if (place.inline !== undefined) this.#inodes.write(place.inline);
  }
}

/** A whole number, negative ones as two's complement. */
function write64(to: Buffer, at: number, value: number): void {
  to.writeUInt32LE(value >>> 0, at);
  to.writeUInt32LE(Math.floor(value / 2 ** 32) >>> 0, at + 4);
}

function hiddenBecause(isSocket: boolean): string {
  return isSocket
    ? "sockets belong to a running program"
    : "a character device 0/0 means a deleted file to the kernel";
}

/** Last of all, with a checksum of everything else: half an image is none. */
function writeHead({ fd, plan, options }: Image): void {
  const slot = Buffer.alloc(SLOT_SIZE);
  slot.write(options.name.slice(-TAG_SIZE), SLOT.tag, "latin1");
  slot.writeUInt32LE(Math.floor(options.tarSize / BLOCK), SLOT.blocks);
  slot.writeUInt32LE(blocksOf(plan), SLOT.firstBlock);
  writeAll(fd, slot, WHAT, SLOT_AT);
  const head = Buffer.alloc(SUPER_SIZE);
  head.writeUInt32LE(MAGIC, SUPER.magic);
  head.writeUInt32LE(COMPAT_MTIME, SUPER.compat);
  head[SUPER.blockBits] = BLOCK_BITS;
  head.writeUInt16LE(plan.nids[0] ?? 0, SUPER.rootNid);
  head.writeBigUInt64LE(BigInt(plan.inodes), SUPER.inodes);
  head.writeUInt32LE(blocksOf(plan), SUPER.blocks);
  // Overlay mounts complain of layers with one uuid.
  createHash("sha256")
    .update(options.name)
    .digest()
    .copy(head, SUPER.uuid + 4, 0, 12);
  head.writeUInt32LE(checksumOf(fd, blocksOf(plan) * BLOCK), SUPER.uuid);
  head.write(VOLUME_NAME, SUPER.volumeName, "latin1");
  head.writeUInt32LE(INCOMPAT_DEVICE_TABLE, SUPER.incompat);
  head.writeUInt16LE(1, SUPER.devices);
  head.writeUInt16LE(SLOT_AT / SLOT_SIZE, SUPER.deviceTable);
  writeAll(fd, head, WHAT, SUPER_AT);
}

/** For messages: slow. */
function pathOf(index: LayerIndex, node: number): string {
  const names: string[] = [];
  for (let at = node; at > 0;) {
    names.unshift(index.name(at));
    let parent = 0;
    for (; parent < at; parent++) {
      if (index.type(parent) !== "directory") continue;
      const { first, count } = index.children(parent);
      if (at >= first && at < first + count) break;
    }
    at = parent;
  }
  return names.join("/");
}
