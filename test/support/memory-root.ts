import { nameOf, parentOf } from "../../src/layer/entry-path.js";
import type { FileEntry, FileType, FileWriter, RootFs, Tree } from "../../src/layer/index.js";

interface MemoryFile {
  entry: FileEntry;
  /** Shared by the names of one file. */
  content: { bytes: Buffer };
}

/** A root filesystem in memory, as strict as a kernel: parents must be directories, links must have targets. */
export class MemoryRoot implements RootFs {
  readonly files = new Map<string, MemoryFile>();
  readonly whiteouts = new Set<string>();
  readonly opaques = new Set<string>();
  finished = false;
  openWriters = 0;

  constructor() {
    this.files.set("", {
      entry: {
        type: "directory",
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtimeNs: 0n,
        size: 0,
        xattrs: new Map(),
      },
      content: { bytes: Buffer.alloc(0) },
    });
  }

  typeOf(path: string): FileType | undefined {
    return this.files.get(path)?.entry.type;
  }

  create(path: string, entry: FileEntry): FileWriter | undefined {
    if (path !== "" && this.typeOf(parentOf(path)) !== "directory")
      throw new Error(`ENOTDIR: ${path}`);
    const before = this.files.get(path);
    if (entry.type === "directory" && before?.entry.type === "directory") {
      before.entry = entry;
      return undefined;
    }
    const target = entry.type === "hardlink" ? this.files.get(entry.linkTarget ?? "") : undefined;
    if (entry.type === "hardlink" && target === undefined)
      throw new Error(`ENOENT: ${entry.linkTarget}`);
    this.remove(path);
    this.whiteouts.delete(path);
    if (target !== undefined) {
      this.files.set(path, target);
      return undefined;
    }
    const content = { bytes: Buffer.alloc(0) };
    this.files.set(path, { entry, content });
    if (entry.type !== "file") return undefined;
    this.openWriters += 1;
    return {
      write: (chunk) => void (content.bytes = Buffer.concat([content.bytes, chunk])),
      close: () => void (this.openWriters -= 1),
    };
  }

  remove(path: string): void {
    this.files.delete(path);
    this.empty(path);
  }

  empty(path: string): void {
    const below = path === "" ? "" : `${path}/`;
    for (const each of this.files.keys())
      if (each !== "" && each.startsWith(below)) this.files.delete(each);
  }

  list(path: string): readonly string[] {
    return [...this.files.keys()]
      .filter((each) => each !== "" && parentOf(each) === path)
      .map(nameOf);
  }

  whiteout(path: string): void {
    this.whiteouts.add(path);
  }

  opaque(path: string): void {
    if (this.typeOf(path) !== "directory") throw new Error(`ENOTDIR: ${path}`);
    this.opaques.add(path);
  }

  finish(): void {
    this.finished = true;
  }

  /** Path to what is there, in one line each. */
  snapshot(): Record<string, string> {
    const lines: [string, string][] = [...this.files].map(([path, { entry, content }]) => [
      path,
      describe(entry, content.bytes),
    ]);
    return Object.fromEntries(lines.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

/** The same lines for any tree. */
export function treeSnapshot(tree: Tree): Record<string, string> {
  const lines: [string, string][] = [];
  const visit = (path: string): void => {
    const entry = tree.lstat(path);
    if (entry === undefined) throw new Error(`listed and not there: ${path}`);
    lines.push([path, describe(entry, entry.type === "file" ? contentOf(entry) : Buffer.alloc(0))]);
    for (const name of tree.list(path)) visit(path === "" ? name : `${path}/${name}`);
  };
  visit("");
  return Object.fromEntries(lines.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function contentOf(entry: FileEntry): Buffer {
  if (entry.open === undefined) return Buffer.from("?");
  const bytes = Buffer.alloc(entry.size);
  using reader = entry.open();
  for (let at = 0; at < bytes.length;) at += reader.read(bytes.subarray(at));
  return bytes;
}

function describe(entry: FileEntry, content: Buffer): string {
  const owner = `${entry.mode.toString(8)} ${entry.uid}:${entry.gid}`;
  if (entry.type === "directory") return `directory ${owner}`;
  if (entry.type === "symlink") return `symlink -> ${entry.linkTarget ?? ""}`;
  return `${entry.type} ${owner} ${content.toString("latin1")}`;
}
