import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { errnoOf, TsbuildError } from "../errors.js";
import type { FileEntry, FileType, FileWriter, RootFs } from "../layer/types.js";
import { type FileCalls, S_IFBLK, S_IFCHR, S_IFIFO } from "./linux/files.js";
import { atRoot, exactNames, type FsPath, fsPath } from "./root-names.js";
import { emptyDirectory, removeTreeSync } from "./root-remove.js";
import { hasRealParents, typeOfStats } from "./root-stats.js";
import { diskXattrName, OPAQUE, OPAQUE_VALUE } from "./root-xattrs.js";

const PERMISSION_BITS = 0o777;
const SET_ID_BITS = 0o7000;
const SETGID = 0o2000;
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
const MAX_SKIPPED_NAMED = 20; // lines of a warning; the rest is counted

export interface RootFsOptions {
  readonly calls: FileCalls;
  /** `lower`: a directory that will be a lower one of overlay mounts. `plain`: a root that is used as it is. */
  readonly form: "lower" | "plain";
  /** Owners other than 0:0 cannot be kept and are dropped. */
  readonly singleId: boolean;
  /** For messages: which ids there are. */
  readonly idMap: string;
  /** The root, where the thread cannot enter it. No symlink among the parents of a path is followed: there is none. */
  readonly base?: string;
}

/** A {@link RootFs} over real files, and what it could not keep. */
export interface LiveRootFs extends Required<RootFs>, Disposable {
  /** One line each, at most {@link MAX_SKIPPED_NAMED}: device nodes and attributes that the kernel refused. */
  readonly skipped: readonly string[];
}

/**
 * The calls of unpacking, relative to the thread's working directory, which is its root: symlinks among the parents
 * resolve inside of it. The thread's umask is 0. What the kernel refuses to everybody in a user namespace (device
 * nodes, `trusted.*`) is left out and said in `skipped`: the layer in the store still has it.
 *
 * @throws TsbuildError HOST_UNSUPPORTED for an owner outside the id map; errors of Node's shape otherwise.
 */
export function openRootFs(options: RootFsOptions): LiveRootFs {
  const state = new Unpacking(options);
  return {
    typeOf: (path) => state.typeOf(path),
    create: (path, entry) => state.create(path, entry),
    remove: (path) => state.remove(path),
    empty: (path) => state.empty(path),
    list: (path) => state.list(path),
    whiteout: (path) => state.whiteout(path),
    opaque: (path) => state.opaque(path),
    finish: () => state.finish(),
    get skipped() {
      return state.skipped;
    },
    [Symbol.dispose]: () => state.close(),
  };
}

class Unpacking {
  readonly #calls: FileCalls;
  readonly #options: RootFsOptions;
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;
  /** Once a directory is set-gid, what is made in it takes its group: then each owner is set, wanted or not. */
  #inheritsGroup: boolean;
  readonly #directoryTimes = new Map<string, bigint>();
  readonly #skipped: string[] = [];
  #openFd: number | undefined;

  constructor(options: RootFsOptions) {
    this.#options = options;
    this.#calls = options.calls;
    this.#inheritsGroup = options.form === "plain";
  }

  get skipped(): readonly string[] {
    return this.#skipped;
  }

  readonly #at = (path: string): FsPath => {
    const { base } = this.#options;
    if (base === undefined) return atRoot(path);
    return path === "" ? base : fsPath(`${base}/${path}`);
  };

  typeOf(path: string): FileType | undefined {
    const stats = lstat(this.#at(path));
    if (stats === undefined || (this.#options.form === "lower" && isWhiteout(stats)))
      return undefined;
    return typeOfStats(stats);
  }

  create(path: string, entry: FileEntry): FileWriter | undefined {
    switch (entry.type) {
      case "file":
        return this.#createFile(path, entry);
      case "directory":
        this.#createDirectory(path, entry);
        return undefined;
      case "symlink":
        this.#replacing(path, (at) => symlinkSync(fsPath(entry.linkTarget ?? ""), at));
        this.#finishNode(path, entry);
        return undefined;
      case "hardlink":
        this.#createHardLink(path, entry);
        return undefined;
      case "char":
      case "block":
      case "fifo":
        if (this.#createNode(path, entry)) this.#finishNode(path, entry);
        return undefined;
      case "socket":
        // No tar has one; nothing could be at its other end.
        this.#skip(path, "sockets belong to a running program");
        return undefined;
    }
  }

  remove(path: string): void {
    this.#forgetTimes(path);
    removeTreeSync(this.#at(path));
  }

  empty(path: string): void {
    this.#forgetTimesBelow(path);
    emptyDirectory(this.#at(path));
  }

  list(path: string): readonly string[] {
    const at = this.#at(path);
    return exactNames({
      text: () => readdirSync(at),
      bytes: () => readdirSync(at, "buffer"),
    });
  }

  whiteout(path: string): void {
    const stats = lstat(this.#at(path));
    // It speaks of the layers below only: what this layer has at that name stays, and hides them.
    if (stats?.isDirectory() === true) return this.opaque(path);
    if (stats !== undefined) return;
    this.#calls.mknod(this.#at(path), S_IFCHR, 0, 0);
  }

  opaque(path: string): void {
    this.#calls.setXattr(this.#at(path), OPAQUE, OPAQUE_VALUE);
  }

  finish(): void {
    for (const [path, mtimeNs] of [...this.#directoryTimes].reverse()) {
      this.#calls.utimes(this.#at(path), mtimeNs);
    }
    this.#directoryTimes.clear();
  }

  close(): void {
    if (this.#openFd !== undefined) closeSync(this.#openFd);
    this.#openFd = undefined;
  }

  #createFile(path: string, entry: FileEntry): FileWriter {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    let fd = -1;
    this.#replacing(path, (at) => {
      fd = openSync(at, flags, entry.mode & PERMISSION_BITS);
    });
    this.#openFd = fd;
    let at = 0;
    let endsInHole = false;
    return {
      write(chunk) {
        for (let done = 0; done < chunk.length;) {
          done += writeSync(fd, chunk, done, chunk.length - done, at + done);
        }
        at += chunk.length;
        endsInHole = false;
      },
      hole(bytes) {
        at += bytes;
        endsInHole = true;
      },
      close: () => {
        if (endsInHole) ftruncateSync(fd, at);
        if (this.#mustChown(entry)) {
          this.#owned(path, entry, () => fchownSync(fd, entry.uid, entry.gid));
        }
        // After the owner: chown(2) takes set-id bits away.
        if ((entry.mode & SET_ID_BITS) !== 0) fchmodSync(fd, entry.mode);
        this.#setXattrs(path, entry);
        this.#calls.futimes(fd, entry.mtimeNs);
        this.#openFd = undefined;
        closeSync(fd);
      },
    };
  }

  #createDirectory(path: string, entry: FileEntry): void {
    const at = this.#at(path);
    let kept = path === "";
    let wasWhiteout = false;
    if (!kept) {
      try {
        mkdirSync(at, entry.mode & PERMISSION_BITS);
      } catch (error) {
        if (errnoOf(error) !== "EEXIST") throw error;
        const stats = lstat(at);
        kept = stats?.isDirectory() === true;
        if (!kept) {
          wasWhiteout = this.#options.form === "lower" && stats !== undefined && isWhiteout(stats);
          unlinkSync(at);
          mkdirSync(at, entry.mode & PERMISSION_BITS);
        }
      }
    }
    if (kept || this.#mustChown(entry)) {
      this.#owned(path, entry, () => lchownSync(at, entry.uid, entry.gid));
    }
    if (kept || this.#inheritsGroup || (entry.mode & SET_ID_BITS) !== 0) chmodSync(at, entry.mode);
    if ((entry.mode & SETGID) !== 0) this.#inheritsGroup = true;
    this.#setXattrs(path, entry);
    if (wasWhiteout) this.opaque(path);
    this.#directoryTimes.set(path, entry.mtimeNs);
  }

  #createHardLink(path: string, entry: FileEntry): void {
    if (entry.linkTarget === path) return;
    const target = this.#at(entry.linkTarget ?? "");
    if (this.#options.base !== undefined && !hasRealParents(entry.linkTarget ?? "", this.#at)) {
      throw new Error(`its link target "${entry.linkTarget}" is beyond a symlink`);
    }
    this.#replacing(path, (at) => linkSync(target, at));
  }

  /** False when the kernel does not allow it. */
  #createNode(path: string, entry: FileEntry): boolean {
    const { devMajor = 0, devMinor = 0 } = entry;
    const kind = { fifo: S_IFIFO, char: S_IFCHR, block: S_IFBLK }[entry.type as "fifo"];
    if (kind === S_IFCHR && devMajor === 0 && devMinor === 0) {
      this.#skip(path, "a character device 0/0 means a deleted file to the kernel");
      return false;
    }
    try {
      this.#replacing(path, (at) => {
        this.#calls.mknod(at, kind | (entry.mode & PERMISSION_BITS), devMajor, devMinor);
      });
      return true;
    } catch (error) {
      if (errnoOf(error) !== "EPERM" || kind === S_IFIFO) throw error;
      // Each step gets its own /dev: nobody misses the image's.
      if (!path.startsWith("dev/")) this.#skip(path, "a user namespace has no device nodes");
      return false;
    }
  }

  /** Owner, mode, xattrs and time of what was made without a descriptor. */
  #finishNode(path: string, entry: FileEntry): void {
    const at = this.#at(path);
    if (this.#mustChown(entry)) {
      this.#owned(path, entry, () => lchownSync(at, entry.uid, entry.gid));
    }
    if (entry.type !== "symlink" && (entry.mode & SET_ID_BITS) !== 0) chmodSync(at, entry.mode);
    this.#setXattrs(path, entry);
    this.#calls.utimes(at, entry.mtimeNs);
  }

  /** Does `make`; if something stands there, once more after removing it. Cheaper than looking first: hardly ever does something. */
  #replacing(path: string, make: (at: FsPath) => void): void {
    const at = this.#at(path);
    try {
      make(at);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      this.remove(path);
      make(at);
    }
  }

  #mustChown(entry: FileEntry): boolean {
    return this.#inheritsGroup || entry.uid !== this.#uid || entry.gid !== this.#gid;
  }

  #owned(path: string, entry: FileEntry, change: () => void): void {
    try {
      change();
    } catch (error) {
      const errno = errnoOf(error);
      if (errno !== "EINVAL" && errno !== "EPERM") throw error;
      // The one id of the map is 0: what is sealed from this root later names 0:0 for whatever belongs to it.
      if (this.#options.singleId) return;
      throw new TsbuildError(
        "HOST_UNSUPPORTED",
        `tried to give /${path} to ${entry.uid}:${entry.gid}: the id map ${this.#options.idMap} has no such id`,
        { hint: "map more ids (subuid, subgid), or run where all ids are available", cause: error },
      );
    }
  }

  #setXattrs(path: string, entry: FileEntry): void {
    for (const [name, value] of entry.xattrs) {
      const onDisk = this.#options.form === "lower" ? diskXattrName(name) : name;
      try {
        this.#calls.setXattr(this.#at(path), fsPath(onDisk), value);
      } catch (error) {
        const errno = errnoOf(error);
        // SELinux labels, trusted.*, or user.* on a symlink: other builders lose them as well.
        if (errno !== "EPERM" && errno !== "ENOTSUP" && errno !== "EOPNOTSUPP") throw error;
        this.#skip(path, `attribute ${name} is not allowed here`);
      }
    }
  }

  #skip(path: string, because: string): void {
    if (this.#skipped.length < MAX_SKIPPED_NAMED) this.#skipped.push(`/${path}: ${because}`);
  }

  /** A time that waits for a directory must not be given to what takes its place. */
  #forgetTimes(path: string): void {
    if (this.#directoryTimes.delete(path)) this.#forgetTimesBelow(path);
  }

  #forgetTimesBelow(path: string): void {
    const prefix = path === "" ? "" : `${path}/`;
    for (const known of this.#directoryTimes.keys()) {
      if (known !== path && known.startsWith(prefix)) this.#directoryTimes.delete(known);
    }
  }
}

function lstat(at: FsPath): ReturnType<typeof lstatSync> {
  try {
    return lstatSync(at, { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

function isWhiteout(stats: { isCharacterDevice(): boolean; rdev: number | bigint }): boolean {
  return stats.isCharacterDevice() && Number(stats.rdev) === 0;
}
