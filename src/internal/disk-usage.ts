import { type Stats, lstatSync, readdirSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";

/** What a tree takes on the disk. */
export interface DiskUsage {
  /** Bytes of allocated blocks; a file with several names counts once. */
  readonly bytes: number;
  /** Entries, the directory itself among them. */
  readonly entries: number;
  /** Something could not be read: it takes more. */
  readonly isPartial: boolean;
}

/** Bytes; stat(2), st_blocks. */
const BLOCK = 512;
/** Entries between two turns of the event loop: some milliseconds. */
const AT_ONCE = 1024;

export function allocatedBytes(found: Stats): number {
  return found.blocks * BLOCK;
}

/** Measures what is at a path, without following links. Absent is nothing. */
export async function measureTree(path: string, signal: AbortSignal): Promise<DiskUsage> {
  const names = new Set<string>();
  const ahead: string[] = [];
  let bytes = 0;
  let entries = 0;
  let isPartial = false;
  const count = (at: string): Stats | undefined => {
    let found: Stats | undefined;
    try {
      found = lstatSync(at, { throwIfNoEntry: false });
    } catch {
      isPartial = true;
    }
    if (found === undefined) return undefined;
    entries += 1;
    if (!found.isDirectory() && found.nlink > 1) {
      const name = `${found.dev}:${found.ino}`;
      if (names.has(name)) return found;
      names.add(name);
    }
    bytes += allocatedBytes(found);
    return found;
  };
  if (count(path)?.isDirectory() === true) ahead.push(path);
  let turn = AT_ONCE;
  for (let directory = ahead.pop(); directory !== undefined; directory = ahead.pop()) {
    let listed: readonly string[] = [];
    try {
      listed = readdirSync(directory);
    } catch {
      isPartial = true;
    }
    for (const name of listed) {
      const child = `${directory}/${name}`;
      if (count(child)?.isDirectory() === true) ahead.push(child);
      if (entries < turn) continue;
      turn = entries + AT_ONCE;
      signal.throwIfAborted();
      await nextTurn();
    }
  }
  return { bytes, entries, isPartial };
}
