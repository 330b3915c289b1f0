import type { Hashing } from "../internal/hashing.js";
import type { DiffId } from "../oci/digest.js";
import type { FileEntry, FileType } from "../oci/tree.js";
import type { Compression, Descriptor, ImageFormat } from "../oci/types.js";

/** One line of an image-spec changeset (image-spec/layer.md). Paths are relative, `/`-separated, without a leading slash; the root is "". */
export type Change =
  | { readonly kind: "write"; readonly path: string; readonly entry: FileEntry }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "opaque"; readonly path: string };

/** A layer in the store: its blob and the hash of what is in it. */
export interface SealedLayer {
  readonly descriptor: Descriptor;
  readonly diffId: DiffId;
  /** Bytes of the tar. */
  readonly uncompressedSize: number;
}

export interface PackOptions {
  readonly compression: Compression;
  /** The compressor's own scale; absent: its default. */
  readonly level?: number;
  readonly format: ImageFormat;
  /** Later times become this one (`SOURCE_DATE_EPOCH` with `rewrite-timestamp`, `--reproducible`). */
  readonly clampMtimeNs?: bigint;
  /** New files of the layer's bytes and of its index; the caller moves them to where they belong. */
  readonly blobPath: string;
  readonly indexPath: string;
  /** Absent: in place. */
  readonly hashing?: Hashing;
  readonly signal: AbortSignal;
}

export interface FileWriter {
  write(chunk: Uint8Array): void;
  /** The next `bytes` are zeros, of a sparse file. Without it they are written. */
  hole?(bytes: number): void;
  /** Closes, and gives the file its owner, mode, xattrs and time. */
  close(): void;
}

/** The calls that unpacking needs, all synchronous and all inside one root. */
export interface RootFs {
  /** `undefined` when absent. Never follows the last component. */
  typeOf(path: string): FileType | undefined;
  /** Makes `entry` at `path`, whose parent exists; a directory that exists is kept and takes the entry's owner, mode and xattrs, anything else that stands there is replaced. A file gives a writer. Times of directories wait for `finish`. */
  create(path: string, entry: FileEntry): FileWriter | undefined;
  /** Recursively; absent is fine. */
  remove(path: string): void;
  /** Everything below the directory. */
  empty(path: string): void;
  /** Names in a directory. Needed where a whiteout or an opaque mark comes after what the layer itself put there: then what goes is told from what stays. */
  list?(path: string): readonly string[];
  /** For a directory that will be a lower one of an overlay mount: a character device 0/0. */
  whiteout(path: string): void;
  /** Likewise: the opaque attribute on an existing directory. */
  opaque(path: string): void;
  /** Gives directories their times. */
  finish(): void;
}

/** What an unpacked layer says of itself. */
export interface UnpackResult {
  readonly diffId: DiffId;
  readonly uncompressedSize: number;
  readonly entries: number;
  /** Directories that entries stand in and that the layer does not describe: their owner and mode come from the layers below. */
  readonly impliedDirectories: readonly string[];
  /** The root itself is opaque: nothing of the lower layers is left. An overlay mount does not know that mark on a layer's root. */
  readonly opaqueRoot: boolean;
}

export type { FileEntry, FileReader, FileType, Tree } from "../oci/tree.js";
