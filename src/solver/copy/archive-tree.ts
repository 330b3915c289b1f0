import { TsbuildError } from "../../errors.js";
import { PathTree } from "../../layer/index.js";
import { resolvePath } from "../../oci/resolve-path.js";
import type { FileEntry, FileReader, Tree } from "../../oci/tree.js";
import type { Archive } from "./archive.js";
import { shown, type Contributor } from "./contributor.js";
import { directoryEntry, transformed, type Transform } from "./entries.js";
import type { LoggedEntry } from "./entry-log.js";
import { baseName, cleanRelative, join, parentOf } from "./paths.js";
import type { Plan } from "./plan.js";
import { leaf } from "./source-tree.js";
import type { CopyRequest, Owner } from "./types.js";

const ROOT: Owner = { uid: 0, gid: 0 };
/** Linux's PATH_MAX and NAME_MAX: a longer one could be unpacked from the layer by nobody. */
const LONGEST_PATH = 4095; // bytes
const LONGEST_NAME = 255; // bytes
/** What is known of paths before the archive; forgotten when it is full, never wrong. */
const MAX_REMEMBERED = 2048;
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
  const { owner, createdNs } = request;
  const transform = { owner, chmod: undefined, item: order };
  const unpacking = new Unpacking(plan, archive, { at, createdNs, transform });
  for (const place of archive.entries) unpacking.add(place);
  plan.put(at, unpacking.finish());
}

/** An entry at a path. */
interface Kept {
  readonly entry: FileEntry;
  /** What the log says of it; absent: it was there before the archive. */
  readonly logged?: LoggedEntry;
}

interface UnpackOptions {
  /** Where in the plan. */
  readonly at: string;
  readonly createdNs: bigint;
  readonly transform: Transform;
}

const TOP = 0;

/**
 * The archive's entries upon what the plan has so far. As a tree it is what a chroot to the directory would show. A node
 * with a number has what the log has there; one without is a directory that was there before and stays as it is.
 */
class Unpacking implements Tree {
  readonly #plan: Plan;
  readonly #archive: Archive;
  readonly #options: UnpackOptions;
  readonly #tree: PathTree;
  /** Whether a path was one before: the plan does not change meanwhile, and finding out takes a walk from the root. */
  readonly #directories = new Map<string, boolean>();
  /** Files of the plan that the archive names again. */
  readonly #foreign: Pick<FileEntry, "open">[] = [];
  /** Where the last entry's parent really is: most entries follow their neighbours. */
  #lastParent: { readonly written: string; readonly real: string } | undefined;
  #links = 0;

  constructor(plan: Plan, archive: Archive, options: UnpackOptions) {
    this.#plan = plan;
    this.#archive = archive;
    this.#options = options;
    this.#tree = new PathTree(archive.spill);
  }

  add(place: number): void {
    const logged = this.#archive.log.at(place);
    const { name } = logged;
    const { entry } = this.#kept(logged);
    const path = cleanRelative(name);
    // The directory itself keeps what it is.
    if (path === "") return;
    const parent = this.#makeParents(parentOf(path), name);
    const at = join(parent, baseName(path));
    const wrong = impossible(join(this.#options.at, at), entry);
    if (wrong !== undefined) throw failure(name, wrong);
    if (entry.type === "hardlink") this.#link(at, entry, name);
    else this.#write(at, entry.type, place);
  }

  /** What there is at the directory, once everything is added. */
  finish(): Contributor {
    this.#tree.freeze();
    return this.#contributor(TOP);
  }

  #contributor(node: number): Contributor {
    const tree = this.#tree;
    const { item } = this.#options.transform;
    const place = tree.reference(node);
    if (place !== undefined && !tree.isDirectory(node))
      return { ...leaf(this.#kept(this.#archive.log.at(place)).entry, item), rule: "replace" };
    let children: Uint32Array | undefined;
    /** Whoever asks for a name's child has mostly just been given the name. */
    let last: { readonly name: string; readonly child: number } | undefined;
    return {
      order: item,
      entry:
        place === undefined
          ? directoryEntry(0o755, ROOT, 0n)
          : this.#kept(this.#archive.log.at(place)).entry,
      rule: place === undefined ? "keep" : "replace",
      opaque: tree.isOpaque(node),
      names: function* () {
        for (const child of (children ??= tree.children(node))) {
          last = { name: tree.nameOf(child), child };
          yield last.name;
        }
      },
      child: (name) => {
        const child =
          last?.name === name
            ? last.child
            : tree.findAmong((children ??= tree.children(node)), name);
        return child === undefined ? undefined : this.#contributor(child);
      },
    };
  }

  /** An entry of the log as it is written. */
  #kept(logged: LoggedEntry): Kept {
    const { entry, content, linkGroup, made } = logged;
    const { transform } = this.#options;
    const foreign = made && content < 0 ? this.#foreign[-1 - content] : undefined;
    const whole: FileEntry = {
      ...entry,
      ...(linkGroup === 0 ? {} : { linkGroup: `${transform.item}:archive:${linkGroup}` }),
      ...(entry.type === "file" ? { open: () => this.#archive.open(content, entry.size) } : {}),
      ...foreign,
    };
    return { entry: made ? whole : transformed(whole, transform), logged };
  }

  lstat(path: string): FileEntry | undefined {
    return this.#look(path)?.entry;
  }

  /** Links are followed one by one: nothing asks for names or content. */
  list(): readonly string[] {
    return [];
  }

  read(): undefined {
    return undefined;
  }

  #look(path: string): Kept | undefined {
    const found = this.#find(path);
    if (found === undefined) return undefined;
    const place = found.node === undefined ? undefined : this.#tree.reference(found.node);
    if (place !== undefined) return this.#kept(this.#archive.log.at(place));
    const entry = found.visible ? this.#before(path) : undefined;
    return entry === undefined ? undefined : { entry };
  }

  /** The node of a path, and whether what was there before can still be seen. */
  #find(
    path: string,
  ): { readonly node: number | undefined; readonly visible: boolean } | undefined {
    let node: number | undefined = TOP;
    let visible = true;
    for (const name of path === "" ? [] : path.split("/")) {
      if (node === undefined) break;
      if (this.#tree.isOpaque(node)) visible = false;
      if (!this.#tree.isDirectory(node)) return undefined;
      node = this.#tree.find(node, name);
    }
    return { node, visible };
  }

  #before(path: string): FileEntry | undefined {
    if (path !== "" && !this.#wasDirectory(parentOf(path))) return undefined;
    return this.#plan.lstat(join(this.#options.at, path));
  }

  #wasDirectory(path: string): boolean {
    const known = this.#directories.get(path);
    if (known !== undefined) return known;
    const found = this.#before(path)?.type === "directory";
    if (this.#directories.size >= MAX_REMEMBERED) this.#directories.clear();
    this.#directories.set(path, found);
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
      const entry = directoryEntry(0o755, ROOT, this.#options.createdNs);
      this.#write(directory, entry.type, this.#make({ entry, content: 0, linkGroup: 0 }));
    }
    if (this.lstat(real)?.type !== "directory")
      throw failure(name, "a parent of it is no directory");
    return real;
  }

  /** Adds to the log what the archive does not have as it is. */
  #make(entry: Pick<LoggedEntry, "entry" | "content" | "linkGroup">): number {
    return this.#archive.log.add({ name: "", made: true, ...entry });
  }

  #write(path: string, type: FileEntry["type"], place: number): void {
    const there = this.#look(path);
    const isDirectory = type === "directory";
    // The last parent may have led through it.
    if (!isDirectory && there !== undefined) this.#lastParent = undefined;
    let opaque = false;
    if (isDirectory && there?.entry.type === "directory") {
      const { node } = this.#find(path) ?? {};
      opaque = node !== undefined && this.#tree.isOpaque(node);
    } else if (isDirectory && there !== undefined) {
      // A directory of before that was replaced and comes back has lost its content.
      opaque = this.#find(path)?.visible === true && this.#before(path)?.type === "directory";
    }
    const node = this.#nodeAt(path);
    this.#tree.set(
      node,
      place,
      isDirectory ? (opaque ? "opaque directory" : "directory") : "other",
    );
  }

  #link(path: string, link: FileEntry, name: string): void {
    const named = cleanRelative(link.linkTarget ?? "");
    const target = this.#resolveLast(named, name);
    const found = this.#look(target);
    if (found === undefined)
      throw failure(name, `the file ${shown(named)} that it links to is missing`);
    const { entry: file, logged } = found;
    if (file.type === "directory") throw failure(name, `${shown(named)} is a directory`);
    if (target === path) return;
    if (file.type === "file" && file.open === undefined) {
      throw failure(name, `the file ${shown(named)} that it links to is in an earlier layer`);
    }
    // Other names that the file had below this layer stay what they are: a copy is made of it, as overlayfs does.
    const known = logged?.linkGroup ?? 0;
    const place = this.#make({
      entry: relinked(file, link),
      content: logged?.content ?? this.#keepForeign(file),
      linkGroup: known > 0 || file.type === "symlink" ? known : ++this.#links,
    });
    this.#write(target, file.type, place);
    this.#write(path, file.type, place);
  }

  /** Where the log can find what it cannot hold. */
  #keepForeign(file: FileEntry): number {
    return -this.#foreign.push(file.open === undefined ? {} : { open: () => openAgain(file) });
  }

  /** Links above the last component are followed, the last one is not: link(2). */
  #resolveLast(path: string, name: string): string {
    try {
      return resolvePath(this, path, "keep").path;
    } catch (cause) {
      throw failure(name, `the file ${shown(path)} that it links to is missing`, cause);
    }
  }

  #nodeAt(path: string): number {
    let node = TOP;
    for (const name of path.split("/")) node = this.#tree.make(node, name);
    return node;
  }
}

function openAgain(file: FileEntry): FileReader {
  if (file.open === undefined) throw new TsbuildError("INTERNAL", "there is nothing to open");
  return file.open();
}

/** The entry that names a file again describes it anew: the last description holds, as with BuildKit. A symlink takes its owner alone. */
function relinked(file: FileEntry, link: FileEntry): FileEntry {
  const { uid, gid, mode, mtimeNs } = link;
  if (file.type === "symlink") return { ...file, uid, gid };
  const xattrs = link.xattrs.size === 0 ? file.xattrs : new Map([...file.xattrs, ...link.xattrs]);
  return { ...file, uid, gid, mode, mtimeNs, xattrs };
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
