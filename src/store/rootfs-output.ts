import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  futimesSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { TsbuildError, errnoOf } from "../errors.js";
import type { FileEntry, Tree } from "../oci/tree.js";
import { failure } from "./failure.js";
import { Losses } from "./rootfs-losses.js";

export interface RootfsOptions {
  /** The bytes of a name or a link, which need not be UTF-8. */
  readonly encodeName: (name: string) => Uint8Array;
  /** The name of a directory in the given one that takes the files: unlike that, it is never reached through a symlink. */
  readonly below?: string;
  readonly signal: AbortSignal;
}

/** Bytes of one read and one write. */
const CHUNK = 1024 * 1024;
/** Entries between two looks at the event loop. */
const BATCH = 128;
/** open(2), O_PATH: Node has no name for it. The same on every processor that Node runs on under Linux. */
const O_PATH = 0o10000000;
const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;
const OWNER_ALL = 0o700;
const SET_ID = 0o6000;
const SET_GID = 0o2000;

/**
 * Writes a filesystem's files into a directory. Files that stand in the way are replaced, all others stay. What
 * is made belongs to the caller, also where that is root, as with BuildKit's client: a tar keeps owners. Each directory is held open while it is filled and is reached through its descriptor, so that no symlink, neither one that
 * was there nor one of the image, leads a write anywhere else.
 * @param directory made when absent; may be reached through symlinks itself
 * @returns what this process could not keep, a sentence each
 * @throws TsbuildError STORE_FAILED
 */
export async function writeRootfs(
  directory: string,
  tree: Tree,
  options: RootfsOptions,
): Promise<readonly string[]> {
  try {
    await mkdir(directory, { recursive: true });
    const root = openRoot(directory, options.below);
    try {
      const shown = join(directory, options.below ?? "");
      const writer = new RootfsWriter(shown, root, tree, options);
      await writer.fill(root, "");
      return writer.losses.messages();
    } finally {
      closeSync(root);
    }
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    throw failure("write the files", directory, error);
  }
}

function openRoot(directory: string, below: string | undefined): number {
  const root = openSync(directory, O_RDONLY | O_DIRECTORY);
  if (below === undefined) return root;
  try {
    const target = nameIn(root, Buffer.from(below));
    makeDirectory(target, 0o755);
    return openSync(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } finally {
    closeSync(root);
  }
}

/** A name in an open directory, however often that is moved or replaced. */
function nameIn(directory: number, name: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), name]);
}

class RootfsWriter {
  readonly losses: Losses = new Losses();
  /** As errors name it. */
  readonly #directoryName: string;
  readonly #root: number;
  readonly #tree: Tree;
  readonly #options: RootfsOptions;
  readonly #uid: number = process.geteuid?.() ?? 0;
  /** The first name of each file that has several. */
  readonly #links = new Map<string, string>();
  readonly #chunk: Buffer = Buffer.allocUnsafe(CHUNK);
  #entries = 0;

  constructor(directoryName: string, root: number, tree: Tree, options: RootfsOptions) {
    this.#directoryName = directoryName;
    this.#root = root;
    this.#tree = tree;
    this.#options = options;
  }

  /** Everything below a directory that is open. */
  async fill(directory: number, path: string): Promise<void> {
    for (const name of this.#tree.list(path)) {
      this.#options.signal.throwIfAborted();
      if (++this.#entries % BATCH === 0) await nextTurn();
      const child = path === "" ? name : `${path}/${name}`;
      const entry = this.#tree.lstat(child);
      if (entry === undefined) continue;
      if (entry.xattrs.size > 0) this.losses.add("xattrs", child);
      await this.#entry(this.#at(directory, name), child, entry);
    }
  }

  async #entry(target: Buffer, path: string, entry: FileEntry): Promise<void> {
    try {
      if (entry.type === "directory") await this.#directory(target, path, entry);
      else await this.#other(target, path, entry);
    } catch (error) {
      if (this.#options.signal.aborted) throw error;
      throw failure("write the files", join(this.#directoryName, path), withoutDescriptor(error));
    }
  }

  #at(directory: number, name: string): Buffer {
    if (name === "" || name === "." || name === ".." || /[/\0]/.test(name)) {
      throw new TsbuildError("INTERNAL", `tried to write a file named ${JSON.stringify(name)}`);
    }
    return nameIn(directory, this.#options.encodeName(name));
  }

  async #directory(target: Buffer, path: string, entry: FileEntry): Promise<void> {
    makeDirectory(target, OWNER_ALL);
    const opened = openSync(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      // Its own mode may forbid what comes now.
      const { mode, uid } = fstatSync(opened);
      if ((mode & OWNER_ALL) !== OWNER_ALL && uid === this.#uid) fchmodSync(opened, OWNER_ALL);
      await this.fill(opened, path);
      this.#attributes(opened, path, entry);
    } finally {
      closeSync(opened);
    }
  }

  async #other(target: Buffer, path: string, entry: FileEntry): Promise<void> {
    if (entry.type !== "file" && entry.type !== "symlink") {
      this.losses.add("special", path);
      return;
    }
    clear(target, path);
    if (this.#link(target, path, entry)) return;
    if (entry.type === "file") return this.#file(target, path, entry);
    symlinkSync(Buffer.from(this.#options.encodeName(entry.linkTarget ?? "")), target);
    const seconds = secondsOf(entry);
    lutimesSync(target, seconds, seconds);
  }

  async #file(target: Buffer, path: string, entry: FileEntry): Promise<void> {
    const file = openSync(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    let complete = false;
    try {
      await this.#copy(file, entry);
      this.#attributes(file, path, entry);
      complete = true;
    } finally {
      closeSync(file);
      if (!complete) tryUnlink(target);
    }
  }

  async #copy(file: number, entry: FileEntry): Promise<void> {
    using reader = entry.size === 0 ? undefined : entry.open?.();
    if (reader === undefined) return;
    for (;;) {
      const got = reader.read(this.#chunk);
      if (got === 0) return;
      for (let done = 0; done < got;) done += writeSync(file, this.#chunk, done, got - done);
      if (got < CHUNK) continue;
      this.#options.signal.throwIfAborted();
      await nextTurn();
    }
  }

  /** Another name of a file that is there; false when it has to be written. */
  #link(target: Buffer, path: string, entry: FileEntry): boolean {
    const { linkGroup } = entry;
    if (linkGroup === undefined) return false;
    const first = this.#links.get(linkGroup);
    if (first === undefined) {
      this.#links.set(linkGroup, path);
      return false;
    }
    try {
      this.#withParent(first, (source) => linkSync(source, target));
      return true;
    } catch {
      // A filesystem without hard links, or a directory that its own mode has closed.
      this.losses.add("links", path);
      return false;
    }
  }

  /** Goes down from the root again, through no symlink. */
  #withParent(path: string, use: (target: Buffer) => void): void {
    const names = path.split("/");
    const last = names.pop() ?? "";
    let directory = this.#root;
    try {
      for (const name of names) {
        const next = openSync(this.#at(directory, name), O_PATH | O_DIRECTORY | O_NOFOLLOW);
        if (directory !== this.#root) closeSync(directory);
        directory = next;
      }
      use(this.#at(directory, last));
    } finally {
      if (directory !== this.#root) closeSync(directory);
    }
  }

  #attributes(opened: number, path: string, entry: FileEntry): void {
    const mode = entry.type === "file" ? this.#safeMode(opened, path, entry) : entry.mode;
    try {
      fchmodSync(opened, mode);
      const seconds = secondsOf(entry);
      futimesSync(opened, seconds, seconds);
    } catch (error) {
      // A directory that was there and belongs to somebody else.
      if (errnoOf(error) !== "EPERM") throw error;
      this.losses.add("modes", path);
    }
  }

  /** A program that would run as its owner must not run as whoever unpacked it. */
  #safeMode(opened: number, path: string, { mode, uid, gid }: FileEntry): number {
    if ((mode & SET_ID) === 0) return mode;
    const found = fstatSync(opened);
    const isSafe = found.uid === uid && ((mode & SET_GID) === 0 || found.gid === gid);
    if (isSafe) return mode;
    this.losses.add("set-id", path);
    return mode & ~SET_ID;
  }
}

/** Node's message names the path of the call, which leads through a descriptor and tells nobody anything. */
function withoutDescriptor(error: unknown): unknown {
  const code = errnoOf(error);
  if (code === undefined || error instanceof TsbuildError || !(error instanceof Error))
    return error;
  const message = error.message.replace(/, \w+ '\/proc\/self\/fd\/.*$/s, "");
  return Object.assign(new Error(message, { cause: error }), { code });
}

function secondsOf({ mtimeNs }: FileEntry): number {
  return Number(mtimeNs) / 1e9;
}

/** A directory that is there is used; anything else gives way. */
function makeDirectory(target: Buffer, mode: number): void {
  try {
    mkdirSync(target, mode);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    if (lstatSync(target).isDirectory()) return;
    unlinkSync(target);
    mkdirSync(target, mode);
  }
}

/** Makes room for a file. An empty directory gives way; a full one holds files of somebody else. */
function clear(target: Buffer, path: string): void {
  try {
    unlinkSync(target);
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT") return;
    if (code !== "EISDIR" && code !== "EPERM") throw error;
    if (!lstatSync(target).isDirectory()) throw error;
    removeEmpty(target, path);
  }
}

function removeEmpty(target: Buffer, path: string): void {
  try {
    rmdirSync(target);
  } catch (error) {
    throw new TsbuildError(
      "STORE_FAILED",
      `tried to write ${path}: a directory with files stands there`,
      { cause: error, hint: "name an empty directory, or remove what stands in the way" },
    );
  }
}

function tryUnlink(target: Buffer): void {
  try {
    unlinkSync(target);
  } catch {
    // The failure that led here says more.
  }
}
