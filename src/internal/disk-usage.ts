import { type Stats, lstatSync, readdirSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";

/** What a tree takes on the disk. */
export interface DiskUsage {
  /** Allocated to what has no names elsewhere. */
  readonly bytes: number;
  /** Files that have names elsewhere too, by device and inode, with their bytes. */
  readonly shared: Readonly<Record<string, number>>;
  /** Something could not be read: it takes more. */
  readonly isPartial: boolean;
}

/** Bytes; stat(2), st_blocks. */
const BLOCK = 512;
/** Entries between two turns of the event loop: some milliseconds. */
const AT_ONCE = 1024;

/** What a file takes that is in no tree. */
export function fileUsage({ blocks, nlink, dev, ino }: Stats): DiskUsage {
  const bytes = blocks * BLOCK;
  return nlink === 1
    ? { bytes, shared: {}, isPartial: false }
    : { bytes: 0, shared: { [`${dev}:${ino}`]: bytes }, isPartial: false };
}

/** Measures what is at a path, without following links. Absent is nothing. */
export async function measureTree(path: string, signal: AbortSignal): Promise<DiskUsage> {
  const count = new Count();
  const ahead: string[] = count.add(path) ? [path] : [];
  let turn = AT_ONCE;
  for (let directory = ahead.pop(); directory !== undefined; directory = ahead.pop()) {
    for (const name of count.list(directory)) {
      const child = `${directory}/${name}`;
      if (count.add(child)) ahead.push(child);
      if (count.entries < turn) continue;
      turn = count.entries + AT_ONCE;
      signal.throwIfAborted();
      await nextTurn();
    }
  }
  return count.usage();
}

class Count {
  entries = 0;
  #bytes = 0;
  #isPartial = false;
  readonly #linked = new Map<
    string,
    { readonly bytes: number; readonly names: number; seen: number }
  >();

  /** Whether it is a directory. */
  add(path: string): boolean {
    let found: Stats | undefined;
    try {
      found = lstatSync(path, { throwIfNoEntry: false });
    } catch {
      this.#isPartial = true;
    }
    if (found === undefined) return false;
    this.entries += 1;
    const bytes = found.blocks * BLOCK;
    const isDirectory = found.isDirectory();
    if (isDirectory || found.nlink === 1) this.#bytes += bytes;
    else this.#link(`${found.dev}:${found.ino}`, bytes, found.nlink);
    return isDirectory;
  }

  #link(id: string, bytes: number, names: number): void {
    const known = this.#linked.get(id);
    if (known === undefined) this.#linked.set(id, { bytes, names, seen: 1 });
    else known.seen += 1;
  }

  list(directory: string): readonly string[] {
    try {
      return readdirSync(directory);
    } catch {
      this.#isPartial = true;
      return [];
    }
  }

  usage(): DiskUsage {
    const shared: Record<string, number> = {};
    let bytes = this.#bytes;
    for (const [id, { bytes: own, names, seen }] of this.#linked) {
      if (seen < names) shared[id] = own;
      else bytes += own;
    }
    return { bytes, shared, isPartial: this.#isPartial };
  }
}
