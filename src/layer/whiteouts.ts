import { TsbuildError } from "../errors.js";
import type { FileEntry } from "../oci/tree.js";
import { joinPath } from "./entry-path.js";
import type { IndexBuilder } from "./index-builder.js";
import type { RootFs } from "./types.js";

/** "apply": what a whiteout names is removed. "overlay": it becomes the mark that an overlay mount knows. */
export type WhiteoutMode = "apply" | "overlay";

/** What a directory is that an archive implies and does not describe. */
export const IMPLIED_DIRECTORY: FileEntry = {
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeNs: 0n,
  size: 0,
  xattrs: new Map(),
};

/**
 * Whiteouts and opaque marks of one layer (image-spec/layer.md). They speak of lower layers only: what the layer itself
 * has put in their place stays, before or after them in the archive.
 */
export class WhiteoutWriter {
  readonly #index: IndexBuilder;
  readonly #root: RootFs | undefined;
  readonly #mode: WhiteoutMode;
  #opaqueRoot = false;

  constructor(index: IndexBuilder, root: RootFs | undefined, mode: WhiteoutMode) {
    this.#index = index;
    this.#root = root;
    this.#mode = mode;
  }

  get opaqueRoot(): boolean {
    return this.#opaqueRoot;
  }

  /** The parent of `path` is in place. */
  whiteout(path: string): void {
    const own = this.#index.find(path);
    const type = own === undefined ? undefined : this.#index.typeOf(own);
    this.#index.whiteout(path);
    if (this.#root === undefined || type === "whiteout") return;
    if (own === undefined)
      return this.#mode === "apply" ? this.#root.remove(path) : this.#root.whiteout(path);
    // A file of this layer has taken the place of whatever was there.
    if (type !== "directory") return;
    this.#hideBelow(path, own);
    if (this.#mode === "apply") this.#forgetLower(path, own);
  }

  /** The directory is in place. */
  opaque(path: string): void {
    const node = this.#index.find(path);
    if (node === undefined) return;
    this.#index.opaque(node);
    if (path === "") this.#opaqueRoot = true;
    this.#hideBelow(path, node);
  }

  /** A directory was made, or its attributes anew, where a whiteout or an opaque mark had been. */
  afterDirectory(path: string, node: number): void {
    if (this.#mode === "overlay" && this.#index.hidesLower(node) && path !== "")
      this.#root?.opaque(path);
  }

  #hideBelow(path: string, node: number): void {
    if (this.#root === undefined) return;
    if (this.#mode === "apply") this.#removeLower(this.#root, path, node);
    else if (path !== "") this.#root.opaque(path);
  }

  /** Removes what stands below a directory and does not come from this layer. */
  #removeLower(root: RootFs, path: string, node: number): void {
    const own = [...this.#index.childrenOf(node)];
    if (own.length === 0) return root.empty(path);
    if (root.list === undefined) {
      throw new TsbuildError(
        "INTERNAL",
        `tried to hide lower layers in "${path}": the root cannot list it`,
      );
    }
    const kept = new Map(own.map((child) => [child.name, child.node]));
    for (const name of root.list(path)) {
      const child = kept.get(name);
      const childPath = joinPath(path, name);
      if (child === undefined) root.remove(childPath);
      else if (this.#index.typeOf(child) === "directory") {
        this.#removeLower(root, childPath, child);
        this.#forgetLower(childPath, child);
      }
    }
  }

  /** A directory that this layer only implies has its owner and mode from a lower one that is hidden now. */
  #forgetLower(path: string, node: number): void {
    if (this.#index.isImplied(node)) this.#root?.create(path, IMPLIED_DIRECTORY);
  }
}
