import type { FileEntry } from "../../oci/tree.js";
import { IMPLIED, OPAQUE, REPLACES, type NodeType } from "../index-format.js";
import type { LayerIndex } from "../layer-index.js";
import { encodeName } from "../path-bytes.js";
import { BLOCK, FILE_TYPES, INODE_SIZE } from "./format.js";
import { Refusal } from "./refusal.js";
import { encodeXattrs, isSettable } from "./xattrs.js";

export type Mark = readonly [name: string, value: Uint8Array];

/** How whoever mounts the image wants it. */
export interface ImageForm {
  /** An attribute's name on disk. */
  readonly xattrName: (name: string) => string;
  /** Put on directories that hide what lower layers have in them. */
  readonly opaque: Mark;
  /** Put on the root where the layer does not describe it. */
  readonly impliedRoot: Mark;
  /** Directories that the layer implies, by their paths, as the layers below have them. */
  readonly implied: ReadonlyMap<string, FileEntry>;
}

/** All of an inode but where its data lies. */
export interface NodeInode {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Encoded; empty when there are none. */
  readonly xattrs: Buffer;
  /** Of devices, as the kernel encodes it. */
  readonly device: number;
  /** Of symlinks. */
  readonly target: Buffer;
}

/** Reads an index as inodes. */
export interface Nodes {
  /** What {@link inode} would have as `xattrs` and `target`, without the rest. @throws Refusal */
  variable(node: number): Pick<NodeInode, "xattrs" | "target">;
  /** @throws Refusal */
  inode(node: number): NodeInode;
  /** Whether an image shows the node: nobody makes a socket, and a device 0/0 would be taken for a whiteout. */
  isShown(node: number): boolean;
}

const NONE: Buffer = Buffer.alloc(0);
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const SYMLINK_MODE = 0o777;
const PERMISSIONS = 0o7777;
const BILLION = 1_000_000_000n;

/** Attributes that cannot be had are told `skip` when an inode is asked for. */
export function openNodes(
  index: LayerIndex,
  form: ImageForm,
  skip: (node: number, because: string) => void,
): Nodes {
  const implied = impliedNodes(index, form.implied);
  const xattrsOf = (node: number, type: NodeType, tell: boolean): Buffer => {
    const xattrs = implied.get(node)?.xattrs ?? index.attributes(node)?.xattrs ?? NO_XATTRS;
    const flags = index.flags(node);
    if (xattrs.size === 0 && flags === 0) return NONE;
    const list: Mark[] = [];
    for (const [name, value] of xattrs) {
      const onDisk = form.xattrName(name);
      if (isSettable(onDisk, type)) list.push([onDisk, value]);
      else if (tell) skip(node, `attribute ${name} is not allowed here`);
    }
    if (type === "directory" && (flags & (OPAQUE | REPLACES)) !== 0) list.push(form.opaque);
    if (node === 0 && (flags & IMPLIED) !== 0) list.push(form.impliedRoot);
    return encodeXattrs(list);
  };
  return {
    variable(node) {
      const type = index.type(node);
      if (type === "hardlink") throw new Refusal("it has a hard link to a file of another layer");
      // The archive stores its pieces one after another: no run of blocks is the file.
      if (type === "file" && index.attributes(node)?.sparse !== undefined)
        throw new Refusal("it has a sparse file");
      return { xattrs: xattrsOf(node, type, false), target: targetOf(index, node, type) };
    },
    isShown: (node) => isShown(index, node),
    inode(node) {
      const type = index.type(node);
      const own = implied.get(node);
      const permissions = permissionsOf(type, own?.mode ?? index.mode(node));
      const time = own === undefined ? undefined : splitTime(own.mtimeNs);
      return {
        mode: FILE_TYPES[type].mode | permissions,
        uid: own?.uid ?? index.uid(node),
        gid: own?.gid ?? index.gid(node),
        seconds: time?.seconds ?? index.mtimeSeconds(node),
        nanoseconds: time?.nanoseconds ?? index.mtimeNanoseconds(node),
        xattrs: xattrsOf(node, type, true),
        target: targetOf(index, node, type),
        device: type === "char" || type === "block" ? deviceOf(index, node) : 0,
      };
    },
  };
}

/** Bytes of data that fit behind an inode with so many bytes of attributes. */
export function fitsBehind(xattrs: Buffer, bytes: number): boolean {
  return INODE_SIZE + xattrs.length + bytes <= BLOCK;
}

function targetOf(index: LayerIndex, node: number, type: NodeType): Buffer {
  if (type !== "symlink") return NONE;
  const target = encodeName(index.attributes(node)?.linkTarget ?? "");
  if (target.length === 0) throw new Refusal("it has a symlink to nothing");
  return target;
}

function splitTime(ns: bigint): { readonly seconds: number; readonly nanoseconds: number } {
  const nanoseconds = ((ns % BILLION) + BILLION) % BILLION;
  return { seconds: Number((ns - nanoseconds) / BILLION), nanoseconds: Number(nanoseconds) };
}

function permissionsOf(type: NodeType, mode: number): number {
  if (type === "whiteout") return 0;
  return type === "symlink" ? SYMLINK_MODE : mode & PERMISSIONS;
}

function isShown(index: LayerIndex, node: number): boolean {
  const type = index.type(node);
  if (type === "socket") return false;
  return type !== "char" || deviceOf(index, node) !== 0;
}

function deviceOf(index: LayerIndex, node: number): number {
  const { devMajor = 0, devMinor = 0 } = index.attributes(node) ?? {};
  return ((devMinor & 0xff) | (devMajor << 8) | ((devMinor & ~0xff) << 12)) >>> 0;
}

function impliedNodes(
  index: LayerIndex,
  implied: ReadonlyMap<string, FileEntry>,
): ReadonlyMap<number, FileEntry> {
  const nodes = new Map<number, FileEntry>();
  for (const [path, entry] of implied) {
    let node = 0;
    for (const name of path.split("/")) {
      const bytes = encodeName(name);
      if (node >= 0) node = index.find(node, bytes, bytes.length);
    }
    if (node > 0) nodes.set(node, entry);
  }
  return nodes;
}
