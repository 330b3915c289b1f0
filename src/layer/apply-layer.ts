import { type ErrorCode, TsbuildError, messageOf, unreachable } from "../errors.js";
import { diskFullHint } from "../internal/disk-full.js";
import { resolvePath } from "../oci/resolve-path.js";
import type { FileEntry, Tree } from "../oci/tree.js";
import { type EntryRole, cleanPath, entryRole, joinPath, nameOf, parentOf } from "./entry-path.js";
import type { IndexBuilder } from "./index-builder.js";
import { INLINE_PATHS, MAX_INLINE } from "./index-format.js";
import { encodeName } from "./path-bytes.js";
import type { TarEntry, TarHandler } from "./tar/reader.js";
import type { FileWriter, RootFs } from "./types.js";
import { IMPLIED_DIRECTORY, type WhiteoutMode, WhiteoutWriter } from "./whiteouts.js";

/** Linux's PATH_MAX and NAME_MAX: a longer one cannot be unpacked anywhere. */
const LONGEST_PATH = 4095; // bytes
const LONGEST_NAME = 255; // bytes
const PLAIN: EntryRole = { kind: "entry" };
const ZEROS: Uint8Array = new Uint8Array(64 * 1024);
/** Bytes. Fewer zeros are written: a hole takes a call and breaks a file into pieces. */
const LEAST_HOLE = 8 * 1024;
export interface ApplyOptions {
  /** Absent: nothing is written, only the index is filled. */
  readonly root: RootFs | undefined;
  /** "keep": names that begin with `.wh.` are ordinary ones, as in an archive that is no layer. */
  readonly whiteouts: WhiteoutMode | "keep";
  readonly what: string;
  readonly code: ErrorCode;
  /** For messages about the disk: the directory that the root is. */
  readonly place?: string;
}

/**
 * Puts the entries of one layer where they belong: into the index and, where there is one, the root. Whatever order
 * they come in, a whiteout speaks of lower layers only. A path through a symlink of the same layer leads where the
 * link does, inside the root; a parent that is a symlink of a lower layer is replaced by a directory, as in an overlay
 * of unpacked layers.
 */
export class LayerApplier implements TarHandler {
  readonly #index: IndexBuilder;
  readonly #options: ApplyOptions;
  readonly #root: RootFs | undefined;
  readonly #whiteouts: WhiteoutWriter;
  readonly #implied: string[] = [""];
  #writer: FileWriter | undefined;
  #path = "";
  #content: { readonly node: number; readonly bytes: Buffer; filled: number } | undefined;

  constructor(index: IndexBuilder, options: ApplyOptions) {
    this.#index = index;
    this.#options = options;
    this.#root = options.root;
    const mode = options.whiteouts === "overlay" ? "overlay" : "apply";
    this.#whiteouts = new WhiteoutWriter(index, options.root, mode);
  }

  /** Directories that stay without an entry of their own, the root as "". Ask at the end. */
  get impliedDirectories(): readonly string[] {
    return this.#implied.filter((path) => {
      const node = this.#index.find(path);
      return (
        node !== undefined &&
        this.#index.typeOf(node) === "directory" &&
        this.#index.isImplied(node)
      );
    });
  }

  get opaqueRoot(): boolean {
    return this.#whiteouts.opaqueRoot;
  }

  entry(entry: TarEntry): void {
    this.#writer = undefined;
    this.#content = undefined;
    this.#path = entry.path;
    try {
      this.#entry(entry, this.#clean(entry.path));
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  data(chunk: Uint8Array): void {
    // Ten gigabytes of zeros are a few megabytes of gzip: as a hole they cost no space.
    if (chunk.length >= LEAST_HOLE && this.#writer?.hole !== undefined && isZero(chunk))
      return this.hole(chunk.length);
    if (this.#content !== undefined) {
      this.#content.bytes.set(chunk, this.#content.filled);
      this.#content.filled += chunk.length;
    }
    try {
      this.#writer?.write(chunk);
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  hole(bytes: number): void {
    if (this.#content !== undefined) this.#content.filled += bytes;
    const writer = this.#writer;
    if (writer === undefined) return;
    try {
      if (writer.hole !== undefined) return writer.hole(bytes);
      for (let left = bytes; left > 0; left -= ZEROS.length) writer.write(ZEROS.subarray(0, left));
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  end(): void {
    if (this.#content !== undefined)
      this.#index.setContent(this.#content.node, this.#content.bytes);
    this.#closeWriter();
  }

  skipped(): void {
    // A volume label names the archive: there is nothing to put anywhere.
  }

  /** Closes a file that an error left open; the error itself is what counts. */
  abandon(): void {
    try {
      this.#closeWriter();
    } catch {
      // The file is half-written anyway, and its directory is thrown away.
    }
  }

  #closeWriter(): void {
    const writer = this.#writer;
    this.#writer = undefined;
    try {
      writer?.close();
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  #entry(entry: TarEntry, path: string): void {
    const role = this.#options.whiteouts === "keep" ? PLAIN : entryRole(path);
    switch (role.kind) {
      case "metadata":
        return;
      case "nameless":
        throw this.#error('".wh." alone names nothing');
      case "whiteout":
        return this.#whiteouts.whiteout(
          joinPath(this.#directory(parentOf(role.path)), nameOf(role.path)),
        );
      case "opaque":
        return this.#whiteouts.opaque(this.#directory(role.path));
      case "entry":
        return this.#ordinary(entry, path);
      default:
        unreachable(role);
    }
  }

  #ordinary(entry: TarEntry, path: string): void {
    if (path === "") {
      if (entry.type !== "directory") throw this.#error("the root can only be a directory");
      return this.#place(entry, "");
    }
    const real = joinPath(this.#directory(parentOf(path)), nameOf(path));
    if (entry.type === "hardlink") this.#link(entry, real);
    else this.#place(entry, real);
  }

  #place(entry: TarEntry, path: string): void {
    const file = { ...entry, path };
    const node = this.#index.add(file, entry.dataOffset, entry.sparse);
    if (entry.type === "file" && INLINE_PATHS.has(path) && entry.size <= MAX_INLINE) {
      this.#content = { node, bytes: Buffer.alloc(entry.size), filled: 0 };
    }
    if (this.#root === undefined) return;
    this.#writer = this.#root.create(path, file);
    if (entry.type === "directory") this.#whiteouts.afterDirectory(path, node);
  }

  #link(entry: TarEntry, path: string): void {
    const written = this.#clean(entry.linkTarget);
    const parent = this.#resolve(parentOf(written));
    const target = joinPath(parent, nameOf(written));
    if (target === path) return;
    const node = this.#index.find(target);
    const type = node === undefined ? undefined : this.#index.typeOf(node);
    const found = type === undefined || type === "whiteout" ? this.#lowerType(target, type) : type;
    if (found === "directory") throw this.#error(`its link target "${target}" is a directory`);
    if (node !== undefined && type !== "whiteout") this.#index.addLink(path, node);
    else this.#index.add({ ...entry, path, linkTarget: target }, 0);
    this.#root?.create(path, { ...entry, linkTarget: target, size: 0 });
  }

  /** A hard link to a file of a lower layer: possible where that layer is in the same root. */
  #lowerType(target: string, hidden: "whiteout" | undefined): string | undefined {
    const inRoot = this.#options.whiteouts === "apply" && hidden === undefined;
    const type = inRoot ? this.#root?.typeOf(target) : undefined;
    if (type !== undefined) return type;
    // Without a root, only the tree of all layers can tell.
    if (this.#root === undefined && hidden === undefined && this.#options.whiteouts !== "keep")
      return undefined;
    throw this.#error(`its link target "${target}" is not there`);
  }

  /** The directory that `path` means, with every part of it in place. */
  #directory(path: string): string {
    const made = (each: string, replaces: boolean): void => this.#onImplied(each, replaces);
    if (this.#index.directory(path, made) !== undefined) return path;
    const real = this.#resolve(path);
    if (this.#index.directory(real, made) !== undefined) return real;
    throw this.#error(`"${real}" is no directory`);
  }

  #onImplied(path: string, replaces: boolean): void {
    this.#implied.push(path);
    const root = this.#root;
    if (root === undefined) return;
    const kept = this.#options.whiteouts === "apply" && root.typeOf(path) === "directory";
    if (!kept) root.create(path, IMPLIED_DIRECTORY);
    const node = this.#index.find(path);
    if (replaces && node !== undefined) this.#whiteouts.afterDirectory(path, node);
  }

  /** Follows the symlinks of this layer. */
  #resolve(path: string): string {
    const lstat = (each: string): FileEntry | undefined => {
      const node = this.#index.find(each);
      const type = node === undefined ? "whiteout" : this.#index.typeOf(node);
      if (node === undefined || type === "whiteout") return undefined;
      return {
        ...IMPLIED_DIRECTORY,
        type,
        linkTarget: type === "symlink" ? this.#index.linkTargetOf(node) : "",
      };
    };
    const tree: Tree = { lstat, list: () => [], read: () => undefined };
    return resolvePath(tree, path, "follow").path;
  }

  #clean(name: string): string {
    const path = cleanPath(name);
    if (path === undefined) throw this.#error("its name holds a NUL");
    if (path.length * 3 > LONGEST_NAME) this.#checkLength(path);
    return path;
  }

  #checkLength(path: string): void {
    if (encodeName(path).length > LONGEST_PATH)
      throw this.#error("its path is longer than 4095 bytes");
    if (path.split("/").some((name) => encodeName(name).length > LONGEST_NAME)) {
      throw this.#error("its name is longer than 255 bytes");
    }
  }

  #wrapped(error: unknown): TsbuildError {
    if (error instanceof TsbuildError && error.code !== "CONTEXT_UNREADABLE") return error;
    const { place } = this.#options;
    const full = diskFullHint(error).hint !== undefined && place !== undefined;
    return this.#error(full ? `${messageOf(error)}, at ${place}` : messageOf(error), error);
  }

  #error(because: string, cause?: unknown): TsbuildError {
    const message = `tried to unpack "${this.#path.slice(0, 200)}" of ${this.#options.what}: ${because}`;
    return new TsbuildError(this.#options.code, message, { cause, ...diskFullHint(cause) });
  }
}

/** Nearly always decided by the first bytes. */
export function isZero(chunk: Uint8Array): boolean {
  for (let at = 0; at < chunk.length; at += ZEROS.length) {
    const piece = chunk.subarray(at, at + ZEROS.length);
    if (Buffer.compare(piece, ZEROS.subarray(0, piece.length)) !== 0) return false;
  }
  return true;
}
