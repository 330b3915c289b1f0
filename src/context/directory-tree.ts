import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type BigIntStats,
  type Dirent,
} from "node:fs";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { compareBytes } from "../internal/compare-bytes.js";
import type { ParentMatch, PathPatterns } from "../internal/path-patterns.js";
import { majorOf, minorOf } from "./file-states.js";
import type { FileEntry, FileReader, FileType, Tree } from "../oci/tree.js";

export interface DirectoryTreeOptions {
  /** For messages: `context`. */
  readonly name: string;
  readonly patterns?: PathPatterns | undefined;
  readonly xattrs?: ((path: string) => ReadonlyMap<string, Uint8Array>) | undefined;
}

/** Directories remembered at once; the memory is dropped when it is full, never wrong. */
const MAX_REMEMBERED = 16_384;
/** Bytes; what `Tree.read` promises. */
const MAX_READ = 1024 * 1024;
/** What Node puts where a name is not UTF-8. */
const BROKEN = "\uFFFD";
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

interface Directory {
  /** What it matched, for its children; absent without patterns. */
  readonly match: ParentMatch | undefined;
}

/**
 * A directory of this machine as COPY sees it: everything belongs to root, ignored paths are not there. Links are never
 * followed, in the middle of a path neither, so nothing outside is reached; a file is opened without following, and only
 * if it still is the one that was looked at.
 */
export class DirectoryTree implements Tree {
  readonly #root: string;
  readonly #name: string;
  readonly #patterns: PathPatterns | undefined;
  readonly #xattrs: ((path: string) => ReadonlyMap<string, Uint8Array>) | undefined;
  /** Of the path that was looked at last. */
  #last: { readonly path: string; readonly stats: BigIntStats } | undefined;
  /** Real directories by path; `undefined`: there is none. */
  readonly #directories: Map<string, Directory | undefined> = new Map();
  /** Whether anything below an ignored directory is taken back. */
  readonly #holds: Map<string, boolean> = new Map();

  constructor(root: string, options: DirectoryTreeOptions) {
    this.#root = root;
    this.#name = options.name;
    this.#patterns = options.patterns?.size === 0 ? undefined : options.patterns;
    this.#xattrs = options.xattrs;
  }

  lstat(path: string): FileEntry | undefined {
    const parent = path === "" ? undefined : this.#directory(parentOf(path));
    if (path !== "" && parent === undefined) return undefined;
    const stats = this.#stat(path);
    if (stats === undefined) return undefined;
    if (path !== "" && !this.#visible(path, stats.isDirectory(), parent?.match)) return undefined;
    this.#last = { path, stats };
    return this.#entry(path, stats);
  }

  /** Changes whenever the file's content may have changed: see `FileSource.identity`. Free after `lstat` of the same path. */
  identity(path: string): string | undefined {
    if (this.#last?.path !== path && this.lstat(path) === undefined) return undefined;
    const stats = this.#last?.stats;
    if (stats?.isFile() !== true) return undefined;
    return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
  }

  list(path: string): readonly string[] {
    return this.names(path).sort(compareBytes);
  }

  /**
   * What {@link list} names, in any order.
   * @param isReal for who has just seen that it is a directory, and not through a link: nobody looks once more
   */
  names(path: string, isReal = false): string[] {
    if (this.#patterns === undefined) {
      return isReal || this.#directory(path) !== undefined ? this.#readNames(path) : [];
    }
    const directory = isReal ? this.#enter(path) : this.#directory(path);
    if (directory === undefined) return [];
    return this.#read(path)
      .filter((entry) =>
        this.#visible(join(path, entry.name), entry.isDirectory(), directory.match),
      )
      .map(({ name }) => name);
  }

  /** Where a path is on this machine. */
  absolute(path: string): string {
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }

  read(path: string): Uint8Array | undefined {
    const entry = this.lstat(path);
    if (entry?.open === undefined || entry.size > MAX_READ) return undefined;
    const reader = entry.open();
    try {
      const bytes = new Uint8Array(entry.size);
      let filled = 0;
      while (filled < bytes.length) {
        const count = reader.read(bytes.subarray(filled));
        if (count === 0) break;
        filled += count;
      }
      return bytes.subarray(0, filled);
    } finally {
      reader[Symbol.dispose]();
    }
  }

  #entry(path: string, stats: BigIntStats): FileEntry {
    const type = typeOf(stats);
    const isFile = type === "file";
    // One shape for the common case: there are many of them.
    const entry = {
      type,
      mode: Number(stats.mode) & 0o7777,
      uid: 0,
      gid: 0,
      mtimeNs: stats.mtimeNs,
      size: isFile ? Number(stats.size) : 0,
      xattrs: this.#xattrs?.(this.absolute(path)) ?? NO_XATTRS,
      open: () => this.#open(path, stats),
    };
    if (isFile && stats.nlink === 1n) return entry;
    if (isFile) return { ...entry, linkGroup: `${stats.dev}:${stats.ino}` };
    const { open: _, ...other } = entry;
    if (type === "symlink") {
      return { ...other, linkTarget: this.#call(path, (file) => readlinkSync(file)) };
    }
    return type === "char" || type === "block" ? { ...other, ...deviceNumbers(stats.rdev) } : other;
  }

  #open(path: string, selected: BigIntStats): FileReader {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const descriptor = this.#call(path, (file) => openSync(file, flags));
    const now = fstatSync(descriptor, { bigint: true });
    const same = (["dev", "ino", "size", "mtimeNs"] as const).every(
      (at) => now[at] === selected[at],
    );
    if (!same) {
      closeSync(descriptor);
      throw this.#changed(path);
    }
    return new DescriptorReader(descriptor, Number(selected.size), () => this.#changed(path));
  }

  /** `undefined` when the path is no directory, or is reached through a link. */
  #directory(path: string): Directory | undefined {
    const known = this.#directories.get(path);
    if (known !== undefined || this.#directories.has(path)) return known;
    const found = this.#lookUpDirectory(path);
    remember(this.#directories, path, found);
    return found;
  }

  /** Of a path that is known to be a directory. */
  #enter(path: string): Directory | undefined {
    const found = this.#directories.get(path) ?? this.#lookUpDirectory(path, true);
    remember(this.#directories, path, found);
    return found;
  }

  #lookUpDirectory(path: string, isReal = false): Directory | undefined {
    if (path === "") return { match: undefined };
    const parent = this.#directory(parentOf(path));
    if (parent === undefined) return undefined;
    if (!isReal && this.#stat(path)?.isDirectory() !== true) return undefined;
    if (this.#patterns === undefined) return parent;
    const match = new Uint8Array(this.#patterns.size);
    this.#patterns.match(path, parent.match, match);
    return { match };
  }

  #visible(path: string, isDirectory: boolean, parent: ParentMatch | undefined): boolean {
    const patterns = this.#patterns;
    if (patterns === undefined || !patterns.match(path, parent)) return true;
    // An ignored directory is there for the sake of what is taken back below it.
    return isDirectory && patterns.hasExceptions && this.#holdsVisible(path, patterns);
  }

  #holdsVisible(path: string, patterns: PathPatterns): boolean {
    const known = this.#holds.get(path);
    if (known !== undefined) return known;
    let holds = false;
    if (patterns.mayReachBelow(path, true)) {
      const match = this.#directory(path)?.match;
      holds = this.#read(path).some((entry) =>
        this.#visible(join(path, entry.name), entry.isDirectory(), match),
      );
    }
    remember(this.#holds, path, holds);
    return holds;
  }

  #read(path: string): readonly Dirent[] {
    const entries = this.#call(path, (file) => readdirSync(file, { withFileTypes: true }));
    const broken = entries.find(({ name }) => name.includes(BROKEN));
    if (broken !== undefined) this.#checkNames(path, broken.name);
    return entries;
  }

  #readNames(path: string): string[] {
    const names = this.#call(path, (file) => readdirSync(file));
    const broken = names.find((name) => name.includes(BROKEN));
    if (broken !== undefined) this.#checkNames(path, broken);
    return names;
  }

  /** Whether the replacement character stands for bytes that are no UTF-8. */
  #checkNames(path: string, broken: string): void {
    if (!hasInvalidName(this.absolute(path))) return;
    throw new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to read directory ${JSON.stringify(`/${path}`)} of the ${this.#name}: a file's name is not UTF-8 (${JSON.stringify(broken)})`,
      { hint: "rename the file, or exclude its directory in .dockerignore" },
    );
  }

  #stat(path: string): BigIntStats | undefined {
    try {
      return lstatSync(this.absolute(path), { bigint: true, throwIfNoEntry: false });
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === "ENOTDIR" || errno === "ENAMETOOLONG") return undefined;
      throw this.#unreadable(path, error);
    }
  }

  #call<T>(path: string, call: (file: string) => T): T {
    try {
      return call(this.absolute(path));
    } catch (error) {
      throw this.#unreadable(path, error);
    }
  }

  #unreadable(path: string, cause: unknown): TsbuildError {
    if (errnoOf(cause) === "ELOOP" || errnoOf(cause) === "ENOENT")
      return this.#changed(path, cause);
    return new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to read ${JSON.stringify(`/${path}`)} of the ${this.#name}: ${errnoOf(cause) ?? messageOf(cause)}`,
      { cause },
    );
  }

  #changed(path: string, cause?: unknown): TsbuildError {
    return new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to read ${JSON.stringify(`/${path}`)} of the ${this.#name}: it changed during the build`,
      { cause },
    );
  }
}

/** Gives exactly the size that was promised, or throws. */
class DescriptorReader implements FileReader {
  readonly #descriptor: number;
  readonly #shortened: () => Error;
  #left: number;
  #open = true;

  constructor(descriptor: number, size: number, shortened: () => Error) {
    this.#descriptor = descriptor;
    this.#left = size;
    this.#shortened = shortened;
  }

  read(into: Uint8Array): number {
    let filled = 0;
    while (filled < into.length && this.#left > 0) {
      const wanted = Math.min(into.length - filled, this.#left);
      const count = readSync(this.#descriptor, into, filled, wanted, null);
      if (count === 0) throw this.#shortened();
      filled += count;
      this.#left -= count;
    }
    return filled;
  }

  [Symbol.dispose](): void {
    if (this.#open) closeSync(this.#descriptor);
    this.#open = false;
  }
}

function typeOf(stats: BigIntStats): FileType {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  if (stats.isSymbolicLink()) return "symlink";
  if (stats.isFIFO()) return "fifo";
  if (stats.isSocket()) return "socket";
  return stats.isCharacterDevice() ? "char" : "block";
}

function deviceNumbers(rdev: bigint): { readonly devMajor: number; readonly devMinor: number } {
  return { devMajor: Number(majorOf(rdev)), devMinor: Number(minorOf(rdev)) };
}

function hasInvalidName(directory: string): boolean {
  return readdirSync(directory, { encoding: "buffer" }).some(
    (name) => !Buffer.from(name.toString("utf8")).equals(name),
  );
}

function remember<T>(map: Map<string, T>, path: string, value: T): void {
  if (map.size >= MAX_REMEMBERED) map.clear();
  map.set(path, value);
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}
