import type { Tree } from "../oci/tree.js";

/** What COPY and ADD read from: a directory with its ignore file, a stage, an image. */
export interface FileSource extends AsyncDisposable {
  /** What of it may be copied: ignored files are not there. */
  readonly tree: Tree;
  /** For messages: `context`, `stage build`. */
  readonly name: string;
  /** Why a path is not in the tree, where an ignore pattern is the reason: the pattern. */
  ignoredBy?(path: string): string | undefined;
}
