import type { FileEntry, FileReader, Tree } from "../../oci/tree.js";
import { applyChmod, type Chmod } from "./chmod.js";
import type { Owner } from "./types.js";

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** How the entries of one item change on their way. */
export interface Transform {
  readonly owner: Owner | undefined;
  readonly chmod: Chmod | undefined;
  /** Names of one file are found within one item only. */
  readonly item: number;
}

/** A root filesystem with nothing in it: `FROM scratch`, and what `--link` sees. */
export const EMPTY_TREE: Tree = {
  lstat: (path) => (path === "" ? directoryEntry(0o755, { uid: 0, gid: 0 }, 0n) : undefined),
  list: () => [],
  read: () => undefined,
};

export function directoryEntry(mode: number, owner: Owner, mtimeNs: bigint): FileEntry {
  return {
    type: "directory",
    mode,
    uid: owner.uid,
    gid: owner.gid,
    mtimeNs,
    size: 0,
    xattrs: NO_XATTRS,
  };
}

/** A file whose content is in memory: a heredoc. Mode 0644, owned by root, unless told otherwise. */
export function memoryEntry(
  content: Uint8Array,
  options: { readonly mode?: number; readonly mtimeNs: bigint },
): FileEntry {
  return {
    type: "file",
    mode: options.mode ?? 0o644,
    uid: 0,
    gid: 0,
    mtimeNs: options.mtimeNs,
    size: content.length,
    xattrs: NO_XATTRS,
    open: () => memoryReader(content),
  };
}

/** An entry as it is written. */
export function transformed(entry: FileEntry, { owner, chmod, item }: Transform): FileEntry {
  const plain = owner === undefined && chmod === undefined;
  if (plain && entry.linkGroup === undefined && entry.type !== "socket") return entry;
  const isDirectory = entry.type === "directory";
  const bits =
    chmod === undefined || entry.type === "symlink"
      ? entry.mode
      : applyChmod(chmod, entry.mode, isDirectory);
  const linkGroup =
    entry.linkGroup === undefined ? {} : { linkGroup: `${item}:${entry.linkGroup}` };
  const { uid, gid } = owner ?? entry;
  const result = { ...entry, uid, gid, mode: bits, ...linkGroup };
  if (entry.type !== "socket") return result;
  // A socket of nobody is of no use, and a tar has no word for it.
  return { ...result, type: "file", size: 0, open: () => memoryReader(new Uint8Array(0)) };
}

/** What is at a path of a source: a further name of a file is that file. */
export function entryAt(tree: Tree, path: string): FileEntry | undefined {
  const entry = tree.lstat(path);
  if (entry?.type !== "hardlink" || entry.linkTarget === undefined) return entry;
  const file = tree.lstat(entry.linkTarget);
  return file?.type === "hardlink" ? undefined : file;
}

function memoryReader(content: Uint8Array): FileReader {
  let at = 0;
  return {
    read(into) {
      const chunk = content.subarray(at, at + into.length);
      into.set(chunk);
      at += chunk.length;
      return chunk.length;
    },
    [Symbol.dispose]() {
      at = content.length;
    },
  };
}
