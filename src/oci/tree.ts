export type FileType =
  "file" | "directory" | "symlink" | "hardlink" | "char" | "block" | "fifo" | "socket";

/** Reads a regular file from its start. Synchronous: only synchronous calls stay inside a chrooted thread. */
export interface FileReader extends Disposable {
  /** Fills `into` as far as it can; 0 at the end. */
  read(into: Uint8Array): number;
}

export interface FileEntry {
  readonly type: FileType;
  /** Permission, set-id and sticky bits: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtimeNs: bigint;
  /** Bytes; 0 unless `type` is "file". */
  readonly size: number;
  /** Of a symlink its text; of a hard link the path (in the same layer) of the file that it is. */
  readonly linkTarget?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** Raw bytes: file capabilities are not text. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** Files with the same value are one file with several names. */
  readonly linkGroup?: string;
  /** Of files: a fresh reader on each call. */
  open?(): FileReader;
}

/** Reading a filesystem: a live root, or only the indexes of layers that were never unpacked. Paths are relative to the root, `/`-separated, without a leading slash; the root is "". */
export interface Tree {
  /** Of the entry itself: a symlink is not followed. Parents that are symlinks are not followed either: see `resolvePath`. */
  lstat(path: string): FileEntry | undefined;
  /** Names in a directory, sorted by their bytes; empty when it is none. */
  list(path: string): readonly string[];
  /** A small file's content (passwd, group); `undefined` when it is no file. At most 1 MiB. */
  read(path: string): Uint8Array | undefined;
}
