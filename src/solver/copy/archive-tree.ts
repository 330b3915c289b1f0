import { TsbuildError } from "../../errors.js";
import { compareBytes } from "../../internal/compare-bytes.js";
import { resolvePath } from "../../oci/resolve-path.js";
import type { FileEntry, Tree } from "../../oci/tree.js";
import type { Archive, ArchiveEntry } from "./archive.js";
import { shown, type Contributor } from "./contributor.js";
import { directoryEntry, transformed } from "./entries.js";
import { baseName, cleanRelative, join, parentOf } from "./paths.js";
import type { Plan } from "./plan.js";
import type { CopyRequest, Owner } from "./types.js";

const ROOT: Owner = { uid: 0, gid: 0 };
/** Linux's PATH_MAX and NAME_MAX: a longer one could be unpacked from the layer by nobody. */
const LONGEST_PATH = 4095; // bytes
const LONGEST_NAME = 255; // bytes
/** What is known of paths before the archive; forgotten when it is full, never wrong. */
const MAX_REMEMBERED = 16_384;
/** Characters of a name in a message. */
const MAX_SHOWN = 200;

/**
 * Unpacks an archive at a directory of the plan, which is made when it is missing. Names and links cannot leave the
 * directory: it is the root for all of them. What stands in the way is replaced; directories are merged and take the
 * archive's owner, mode and time; `--chmod` and `--exclude` have no meaning for archives, as with BuildKit.
 * @throws TsbuildError DOCKERFILE_INVALID naming the entry that cannot be
 */
export function placeArchive(
  plan: Plan,
  archive: Archive,
  directory: string,
  request: Pick<CopyRequest, "owner" | "createdNs">,
): void {
  const made = directoryEntry(0o755, request.owner ?? ROOT, request.createdNs);
  const at = plan.makeDirectories(directory, () => made);
  const order = plan.nextOrder();
  const unpacking = new Unpacking(plan, at, request.createdNs);
  const transform = { owner: request.owner, chmod: undefined, item: order };
  for (const { name, entry } of archive.entries) {
    unpacking.add({ name, entry: transformed(entry, transform) }, order);
  }
  plan.put(at, contributorOf(unpacking.top, order));
}

/** What the archive has put at a path, and below it. */
interface Node {
  /** Absent: a directory that was there before and stays as it is. */
  entry: FileEntry | undefined;
  /** What was in the directory before is gone. */
  opaque: boolean;
  /** Absent: there are none. A million files are no million empty maps. */
  children: Map<string, Node> | undefined;
}

/** The archive's entries upon what the plan has so far. As a tree it is what a chroot to the directory would show. */
class Unpacking implements Tree {
  readonly top: Node = { entry: undefined, opaque: false, children: undefined };
  readonly #plan: Plan;
  readonly #at: string;
  readonly #createdNs: bigint;
  /** The plan's own entries below the directory: it does not change meanwhile, and finding one takes a walk from the root. */
  readonly #known = new Map<string, FileEntry | undefined>();
  /** Where the last entry's parent really is: most entries follow their neighbours. */
  #lastParent: { readonly written: string; readonly real: string } | undefined;
  #links = 0;

  constructor(plan: Plan, at: string, createdNs: bigint) {
    this.#plan = plan;
    this.#at = at;
    this.#createdNs = createdNs;
  }

  add({ name, entry }: ArchiveEntry, order: number): void {
    const path = cleanRelative(name);
    // The directory itself keeps what it is.
    if (path === "") return;
    const parent = this.#makeParents(parentOf(path), name);
    const place = join(parent, baseName(path));
    const wrong = impossible(join(this.#at, place), entry);
    if (wrong !== undefined) throw failure(name, wrong);
    if (entry.type === "hardlink") this.#link(place, entry, name, order);
    else this.#write(place, entry);
  }

  lstat(path: string): FileEntry | undefined {
    const found = this.#find(path);
    if (found === undefined) return undefined;
    return found.node?.entry ?? (found.visible ? this.#before(path) : undefined);
  }

  /** Links are followed one by one: nothing asks for names or content. */
  list(): readonly string[] {
    return [];
  }

  read(): undefined {
    return undefined;
  }

  /** The node of a path, and whether what was there before can still be seen. */
  #find(path: string): { readonly node: Node | undefined; readonly visible: boolean } | undefined {
    let node: Node | undefined = this.top;
    let visible = true;
    for (const name of path === "" ? [] : path.split("/")) {
      if (node?.opaque === true) visible = false;
      if (node?.entry !== undefined && node.entry.type !== "directory") return undefined;
      node = node?.children?.get(name);
    }
    return { node, visible };
  }

  #before(path: string): FileEntry | undefined {
    if (this.#known.has(path)) return this.#known.get(path);
    const missing = path !== "" && this.#before(parentOf(path))?.type !== "directory";
    const found = missing ? undefined : this.#plan.lstat(join(this.#at, path));
    if (this.#known.size >= MAX_REMEMBERED) this.#known.clear();
    this.#known.set(path, found);
    return found;
  }

  #makeParents(path: string, name: string): string {
    if (this.#lastParent?.written === path) return this.#lastParent.real;
    if (Buffer.byteLength(path) > LONGEST_PATH) throw failure(name, TOO_LONG);
    const real = this.#findParents(path, name);
    this.#lastParent = { written: path, real };
    return real;
  }

  #findParents(path: string, name: string): string {
    let real: string;
    try {
      real = resolvePath(this, path, "follow").path;
    } catch (cause) {
      throw failure(name, "a parent of it is no directory", cause);
    }
    let directory = "";
    for (const part of real === "" ? [] : real.split("/")) {
      directory = join(directory, part);
      if (this.lstat(directory) !== undefined) continue;
      this.#write(directory, directoryEntry(0o755, ROOT, this.#createdNs));
    }
    if (this.lstat(real)?.type !== "directory")
      throw failure(name, "a parent of it is no directory");
    return real;
  }

  #write(path: string, entry: FileEntry): void {
    const there = this.lstat(path);
    const node = this.#nodeAt(path);
    // The last parent may have led through it.
    if (entry.type !== "directory" && there !== undefined) this.#lastParent = undefined;
    if (entry.type !== "directory") {
      node.children = undefined;
      node.opaque = false;
    } else if (there !== undefined && there.type !== "directory") {
      // A directory of before that was replaced and comes back has lost its content.
      const visible = this.#find(path)?.visible === true;
      node.opaque = visible && this.#before(path)?.type === "directory";
    }
    node.entry = entry;
  }

  #link(path: string, link: FileEntry, name: string, order: number): void {
    const named = cleanRelative(link.linkTarget ?? "");
    const target = this.#resolveLast(named, name);
    const file = this.lstat(target);
    if (file === undefined)
      throw failure(name, `the file ${shown(named)} that it links to is missing`);
    if (file.type === "directory") throw failure(name, `${shown(named)} is a directory`);
    if (target === path) return;
    if (file.type === "file" && file.open === undefined) {
      throw failure(name, `the file ${shown(named)} that it links to is in an earlier layer`);
    }
    // Other names that the file had below this layer stay what they are: a copy is made of it, as overlayfs does.
    const known = this.#find(target)?.node?.entry?.linkGroup;
    const linkGroup = known ?? `${order}:archive:${this.#links++}`;
    const shared = relinked(file, link, linkGroup);
    this.#write(target, shared);
    this.#write(path, shared);
  }

  /** Links above the last component are followed, the last one is not: link(2). */
  #resolveLast(path: string, name: string): string {
    try {
      return resolvePath(this, path, "keep").path;
    } catch (cause) {
      throw failure(name, `the file ${shown(path)} that it links to is missing`, cause);
    }
  }

  #nodeAt(path: string): Node {
    let node = this.top;
    for (const name of path.split("/")) {
      let next: Node | undefined = node.children?.get(name);
      if (next === undefined) {
        next = { entry: undefined, opaque: false, children: undefined };
        node.children ??= new Map();
        node.children.set(name, next);
      }
      node = next;
    }
    return node;
  }
}

/** The entry that names a file again describes it anew: the last description holds, as with BuildKit. A symlink takes its owner alone. */
function relinked(file: FileEntry, link: FileEntry, linkGroup: string): FileEntry {
  const { uid, gid, mode, mtimeNs } = link;
  if (file.type === "symlink") return { ...file, uid, gid };
  const xattrs = link.xattrs.size === 0 ? file.xattrs : new Map([...file.xattrs, ...link.xattrs]);
  return { ...file, uid, gid, mode, mtimeNs, xattrs, linkGroup };
}

function contributorOf(node: Node, order: number): Contributor {
  return {
    order,
    entry: node.entry ?? directoryEntry(0o755, ROOT, 0n),
    rule: node.entry === undefined ? "keep" : "replace",
    opaque: node.opaque,
    names: () => [...(node.children?.keys() ?? [])].sort(compareBytes),
    child: (name) => {
      const child = node.children?.get(name);
      return child === undefined ? undefined : contributorOf(child, order);
    },
  };
}

const TOO_LONG = `its path is longer than ${LONGEST_PATH} bytes`;

/** Why no filesystem can hold it. */
function impossible(path: string, { type, linkTarget = "" }: FileEntry): string | undefined {
  if (path.length * 3 > LONGEST_NAME) {
    if (Buffer.byteLength(path) > LONGEST_PATH) return TOO_LONG;
    if (path.split("/").some((part) => Buffer.byteLength(part) > LONGEST_NAME))
      return `its name is longer than ${LONGEST_NAME} bytes`;
  }
  if (type !== "symlink") return undefined;
  if (linkTarget === "") return "its link leads to an empty name";
  return Buffer.byteLength(linkTarget) > LONGEST_PATH
    ? `its link is longer than ${LONGEST_PATH} bytes`
    : undefined;
}

function failure(name: string, why: string, cause?: unknown): TsbuildError {
  const shownName = JSON.stringify(name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name);
  return new TsbuildError("DOCKERFILE_INVALID", `tried to unpack ${shownName}: ${why}`, {
    cause,
  });
}
