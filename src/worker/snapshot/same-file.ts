import type { FileEntry, FileReader } from "../../layer/types.js";

/** Bytes read at once from each of two files. */
const CHUNK = 64 * 1024;

/**
 * Whether two entries of equal type, owner, mode, size and time are the same in everything else: attributes, link text,
 * content. @param outside Runs what reads the second one, which is outside of the thread's root
 */
export function sameFile(
  entry: FileEntry,
  readOther: () => FileEntry,
  outside: <T>(read: () => T) => T,
): boolean {
  // Opened while its path still means something.
  const reader = entry.open?.();
  try {
    return outside(() => {
      const other = readOther();
      if (!sameXattrs(entry.xattrs, other.xattrs)) return false;
      if (entry.linkTarget !== other.linkTarget) return false;
      if (reader === undefined) return true;
      using theirs = other.open?.();
      return theirs !== undefined && sameContent(reader, theirs);
    });
  } finally {
    reader?.[Symbol.dispose]();
  }
}

export function sameXattrs(
  a: ReadonlyMap<string, Uint8Array>,
  b: ReadonlyMap<string, Uint8Array>,
): boolean {
  if (a.size !== b.size) return false;
  for (const [name, value] of a) {
    const other = b.get(name);
    if (other === undefined || Buffer.compare(value, other) !== 0) return false;
  }
  return true;
}

/** Both give full chunks until they end. */
function sameContent(a: FileReader, b: FileReader): boolean {
  const mine = Buffer.allocUnsafe(CHUNK);
  const theirs = Buffer.allocUnsafe(CHUNK);
  for (;;) {
    const count = a.read(mine);
    if (count !== b.read(theirs)) return false;
    if (count === 0) return true;
    if (mine.compare(theirs, 0, count, 0, count) !== 0) return false;
  }
}
