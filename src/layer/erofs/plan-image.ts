import { turn } from "../abort.js";
import type { LayerIndex } from "../layer-index.js";
import { DirectoryBlocks, DirectoryEntries } from "./directory.js";
import { BLOCK, INODES_AT, INODE_SIZE, NID_UNIT, roundUp } from "./format.js";
import { fitsBehind, type Nodes } from "./nodes.js";
import { Refusal } from "./refusal.js";

/** Where everything goes in an image. Four bytes for each node, and eight for each file with several names. */
export interface ImagePlan {
  /** The number of each node's inode: 0 for a node that has none. */
  readonly nids: Uint32Array;
  /** By link group: the first node, whose inode it is, plus one, and how many names there are. */
  readonly firsts: Uint32Array;
  readonly names: Uint32Array;
  readonly inodes: number;
  /** Where the blocks of directories and long symlinks begin. Bytes. */
  readonly dataAt: number;
  readonly dataBlocks: number;
}

/** The blocks of a node's own data, and what is left for the last one. */
export interface DataShape {
  /** Whole blocks, of the data area. */
  readonly full: number;
  /** Bytes after them: behind the inode if that has room, else a block of their own. */
  readonly tail: number;
}

/** Nodes that are worked on before others get a turn. */
export const AT_ONCE = 4096;

/** Inodes come in the index's order. @throws Refusal, TsbuildError ABORTED */
export async function planImage(
  index: LayerIndex,
  nodes: Nodes,
  signal: AbortSignal,
): Promise<ImagePlan> {
  const nids = new Uint32Array(index.nodes);
  const groups = new LinkGroups();
  const entries = new DirectoryEntries(index);
  let at = INODES_AT;
  let inodes = 0;
  let dataBlocks = 0;
  for (let node = 0; node < index.nodes; node++) {
    if (node % AT_ONCE === AT_ONCE - 1) await turn(signal);
    if (!nodes.isShown(node)) continue;
    const first = groups.add(index.linkGroup(node), node);
    if (first !== node) {
      nids[node] = nids[first] ?? 0;
      continue;
    }
    const { xattrs, target } = nodes.variable(node);
    const shape =
      index.type(node) === "directory"
        ? shapeOfDirectory(entries, nodes, node)
        : shapeOfBytes(target.length);
    const head = INODE_SIZE + xattrs.length;
    const isInline = isTailInline(shape, xattrs, target);
    const tail = isInline ? shape.tail : 0;
    if (isInline && (at % BLOCK) + head + tail > BLOCK) at = roundUp(at, BLOCK);
    nids[node] = at / NID_UNIT;
    if (at / NID_UNIT > 0xffff_ffff) throw new Refusal("it has too many entries");
    at = roundUp(at + head + tail, NID_UNIT);
    dataBlocks += shape.full + (shape.tail > 0 && !isInline ? 1 : 0);
    inodes += 1;
  }
  return { nids, ...groups.result(), inodes, dataAt: roundUp(at, BLOCK), dataBlocks };
}

/** Only a symlink that lies behind its inode as a whole: readers take two ways of finding a target, and this is the usual one. */
export function isTailInline({ full, tail }: DataShape, xattrs: Buffer, target: Buffer): boolean {
  if (tail === 0 || !fitsBehind(xattrs, tail)) return false;
  return target.length === 0 || full === 0;
}

export function shapeOfBytes(length: number): DataShape {
  return { full: Math.floor(length / BLOCK), tail: length % BLOCK };
}

function shapeOfDirectory(entries: DirectoryEntries, nodes: Nodes, directory: number): DataShape {
  const blocks = new DirectoryBlocks();
  entries.each(directory, (node, name) => {
    if (node < 0 || nodes.isShown(node)) blocks.add(name.length);
  });
  return { full: blocks.full, tail: blocks.tail };
}

class LinkGroups {
  #firsts = new Uint32Array(256);
  #names = new Uint32Array(256);

  /** The node whose inode it is. */
  add(group: number, node: number): number {
    if (group === 0) return node;
    if (group >= this.#firsts.length) this.#grow(group);
    this.#names[group] = (this.#names[group] ?? 0) + 1;
    if (this.#firsts[group] === 0) this.#firsts[group] = node + 1;
    return (this.#firsts[group] ?? 0) - 1;
  }

  result(): { readonly firsts: Uint32Array; readonly names: Uint32Array } {
    return { firsts: this.#firsts, names: this.#names };
  }

  #grow(group: number): void {
    const length = Math.max(group + 1, this.#firsts.length * 2);
    const [firsts, names] = [new Uint32Array(length), new Uint32Array(length)];
    firsts.set(this.#firsts);
    names.set(this.#names);
    this.#firsts = firsts;
    this.#names = names;
  }
}
