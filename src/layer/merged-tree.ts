import { TsbuildError } from "../errors.js";
import type { FileEntry, FileReader, Tree } from "../oci/tree.js";
import { nameOf, parentOf } from "./entry-path.js";
import { IMPLIED, MAX_INLINE, OPAQUE, REPLACES } from "./index-format.js";
import type { LayerIndex, NodeAttributes } from "./layer-index.js";
import { compareNames, encodeName } from "./path-bytes.js";
import { SparseFileReader } from "./sparse-file-reader.js";

/** Opens `size` stored bytes at `offset` in the uncompressed tar of a layer (its number in the list of indexes). */
export type ReadContent = (layer: number, offset: number, size: number) => FileReader;

/**
 * The filesystem that layers make together, lowest first, read from their indexes alone: whiteouts and opaque
 * directories applied, hard links resolved. Entries of files have `open` when `readContent` is given.
 */
export function mergedTree(indexes: readonly LayerIndex[], readContent?: ReadContent): Tree {
  return new MergedTree(indexes, readContent);
}

/** A node of one layer. */
interface Place {
  readonly layer: number;
  readonly node: number;
}

/** A directory of the merged filesystem: the layers that have a part in it, topmost first. */
interface MergedDirectory {
  readonly parts: readonly Place[];
  /** Whose owner and mode count. */
  readonly own: Place;
}

/** Directories remembered: their parts only, so that walks and searches do not start at the root each time. */
const MAX_CACHED = 4096;
const MAX_LINK_HOPS = 40;
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** Where there are no layers there still is a root. */
const EMPTY_ROOT: FileEntry = {
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeNs: 0n,
  size: 0,
  xattrs: NO_XATTRS,
};

class MergedTree implements Tree {
  readonly #indexes: readonly LayerIndex[];
  readonly #readContent: ReadContent | undefined;
  readonly #directories = new Map<string, MergedDirectory | undefined>();
  #name: Buffer = Buffer.alloc(1024);

  constructor(indexes: readonly LayerIndex[], readContent: ReadContent | undefined) {
    this.#indexes = indexes;
    this.#readContent = readContent;
  }

  lstat(path: string): FileEntry | undefined {
    const place = this.#find(path, this.#indexes.length - 1);
    if (place !== undefined) return this.#entry(place, 0);
    return path === "" ? EMPTY_ROOT : undefined;
  }

  list(path: string): readonly string[] {
    const directory = this.#directory(path, this.#indexes.length - 1);
    if (directory === undefined) return [];
    const visible = new Map<string, boolean>();
    for (const { layer, node } of directory.parts) {
      const index = this.#index(layer);
      const { first, count } = index.children(node);
      for (let child = first; child < first + count; child++) {
        const name = index.name(child);
        if (!visible.has(name)) visible.set(name, index.type(child) !== "whiteout");
      }
    }
    const names: string[] = [];
    for (const [name, shown] of visible) if (shown) names.push(name);
    return directory.parts.length === 1 ? names : names.sort(compareNames);
  }

  read(path: string): Uint8Array | undefined {
    const place = this.#find(path, this.#indexes.length - 1);
    if (place === undefined) return undefined;
    const content = this.#index(place.layer).attributes(place.node)?.content;
    if (content !== undefined) return content;
    const entry = this.#entry(place, 0);
    if (entry?.type !== "file") return undefined;
    if (entry.size > MAX_INLINE) throw unreadable(path, "it is larger than 1 MiB");
    if (entry.size === 0) return new Uint8Array(0);
    if (entry.open === undefined) throw unreadable(path, "only the index of its layer is known");
    const bytes = new Uint8Array(entry.size);
    using reader = entry.open();
    for (let at = 0; at < bytes.length;) {
      const got = reader.read(bytes.subarray(at));
      if (got === 0) throw unreadable(path, "its layer is shorter than the index says");
      at += got;
    }
    return bytes;
  }

  #index(layer: number): LayerIndex {
    const index = this.#indexes[layer];
    if (index === undefined) throw new TsbuildError("INTERNAL", `there is no layer ${layer}`);
    return index;
  }

  /** What is visible at a path when only the layers up to `top` count. */
  #find(path: string, top: number): Place | undefined {
    if (path === "") return this.#directory("", top)?.own;
    const parent = this.#directory(parentOf(path), top);
    if (parent === undefined) return undefined;
    const length = this.#load(nameOf(path));
    for (const { layer, node } of parent.parts) {
      const index = this.#index(layer);
      const child = index.find(node, this.#name, length);
      if (child < 0) continue;
      const type = index.type(child);
      if (type === "whiteout") return undefined;
      const implied = type === "directory" && (index.flags(child) & IMPLIED) !== 0;
      return implied ? this.#directory(path, top)?.own : { layer, node: child };
    }
    return undefined;
  }

  #directory(path: string, top: number): MergedDirectory | undefined {
    if (top < 0) return undefined;
    // Searches below the topmost layer serve links across layers alone: too rare to remember.
    if (top !== this.#indexes.length - 1) return this.#merge(path, top);
    const known = this.#directories.get(path);
    if (known !== undefined || this.#directories.has(path)) return known;
    const directory = this.#merge(path, top);
    if (this.#directories.size >= MAX_CACHED) this.#directories.clear();
    this.#directories.set(path, directory);
    return directory;
  }

  #merge(path: string, top: number): MergedDirectory | undefined {
    if (path === "") {
      const roots = Array.from({ length: top + 1 }, (_, i) => ({ layer: top - i, node: 0 }));
      return this.#join(roots);
    }
    const parent = this.#directory(parentOf(path), top);
    if (parent === undefined) return undefined;
    const length = this.#load(nameOf(path));
    const found: Place[] = [];
    for (const { layer, node } of parent.parts) {
      const child = this.#index(layer).find(node, this.#name, length);
      if (child < 0) continue;
      if (this.#index(layer).type(child) !== "directory") break;
      found.push({ layer, node: child });
      if ((this.#index(layer).flags(child) & REPLACES) !== 0) break;
    }
    return this.#join(found);
  }

  /** Parts below an opaque one give no names, but may still say who owns the directory. */
  #join(found: readonly Place[]): MergedDirectory | undefined {
    const last = found.at(-1);
    if (last === undefined) return undefined;
    const own = found.find(({ layer, node }) => (this.#index(layer).flags(node) & IMPLIED) === 0);
    const opaque = found.findIndex(
      ({ layer, node }) => (this.#index(layer).flags(node) & OPAQUE) !== 0,
    );
    return { parts: opaque < 0 ? found : found.slice(0, opaque + 1), own: own ?? last };
  }

  #load(name: string): number {
    const bytes = /[\ud800-\udfff]/.test(name) ? encodeName(name) : name;
    if (bytes.length * 3 > this.#name.length) this.#name = Buffer.alloc(bytes.length * 3);
    return typeof bytes === "string" ? this.#name.write(bytes) : bytes.copy(this.#name);
  }

  #entry(place: Place, hops: number): FileEntry | undefined {
    const { layer, node } = place;
    const index = this.#index(layer);
    const type = index.type(node);
    const more = index.attributes(node);
    if (type === "whiteout") return undefined;
    if (type === "hardlink") {
      // Its target is in a layer below: within one layer the index has it resolved.
      const target =
        hops < MAX_LINK_HOPS ? this.#find(more?.linkTarget ?? "", layer - 1) : undefined;
      return target === undefined ? undefined : this.#entry(target, hops + 1);
    }
    const group = index.linkGroup(node);
    return {
      type,
      mode: index.mode(node),
      uid: index.uid(node),
      gid: index.gid(node),
      mtimeNs: index.mtimeNs(node),
      size: index.size(node),
      xattrs: more?.xattrs ?? NO_XATTRS,
      ...(group === 0 || type === "directory" ? {} : { linkGroup: `${layer}:${group}` }),
      ...(type === "symlink" ? { linkTarget: more?.linkTarget ?? "" } : {}),
      ...(type === "char" || type === "block"
        ? { devMajor: more?.devMajor ?? 0, devMinor: more?.devMinor ?? 0 }
        : {}),
      ...(type === "file" ? this.#opener(place, more) : {}),
    };
  }

  #opener({ layer, node }: Place, more: NodeAttributes | undefined): Pick<FileEntry, "open"> {
    const readContent = this.#readContent;
    if (readContent === undefined) return {};
    const index = this.#index(layer);
    const offset = index.dataOffset(node);
    const size = index.size(node);
    const map = more?.sparse;
    if (map === undefined) return { open: () => readContent(layer, offset, size) };
    const stored = map.reduce((sum, length, i) => (i % 2 === 1 ? sum + length : sum), 0);
    return { open: () => new SparseFileReader(readContent(layer, offset, stored), map, size) };
  }
}

function unreadable(path: string, because: string): TsbuildError {
  return new TsbuildError("STORE_FAILED", `tried to read "${path}" of the image: ${because}`);
}
