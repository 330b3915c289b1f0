import type { FileSource } from "../../context/types.js";
import type { FileEntry, Tree } from "../../oci/tree.js";
import type { Archive } from "./archive.js";
import type { Chmod } from "./chmod.js";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** One thing to copy: what `expandSources`, `unpackArchives`, a heredoc or a download made of a source word. */
export type CopyItem =
  /** A path that is there, or whose absence is an error; the root is "". */
  | { readonly kind: "path"; readonly source: FileSource; readonly path: string }
  /** With `--parents`: what matches `pattern` below `base`, with its path from there. */
  | {
      readonly kind: "parents";
      readonly source: FileSource;
      readonly base: string;
      readonly pattern: string;
      /** The pattern is a plain path, which has to exist. */
      readonly required: boolean;
    }
  /** A heredoc, a download. */
  | { readonly kind: "file"; readonly name: string; readonly entry: FileEntry }
  /** Unpacked below the destination. */
  | { readonly kind: "archive"; readonly archive: Archive };

export interface CopyRequest {
  readonly items: readonly CopyItem[];
  /** Expanded; as written, since a slash at its end has a meaning. */
  readonly target: string;
  /** Absolute; "" is the root. */
  readonly workdir: string;
  /** The stage's filesystem. Not looked at with `link`. */
  readonly root: Tree;
  /** Of everything that is written; absent: the files' own, and root for directories that are made. */
  readonly owner?: Owner | undefined;
  readonly chmod?: Chmod | undefined;
  /** Patterns of `--exclude`, relative to each directory that is copied. */
  readonly exclude?: readonly string[] | undefined;
  /** The layer does not depend on what is below it: nothing there is followed, kept or merged. */
  readonly link?: boolean | undefined;
  /** The time of directories that are made on the way. Nanoseconds since the epoch. */
  readonly createdNs: bigint;
}
