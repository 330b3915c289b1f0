import type { Change, FileEntry } from "../../src/layer/index.js";

const BASE = { uid: 0, gid: 0, mtimeNs: 1_700_000_000_000_000_000n, size: 0, xattrs: new Map() };

export function file(content: string | Uint8Array, more: Partial<FileEntry> = {}): FileEntry {
  const bytes = Buffer.from(content);
  return {
    ...BASE,
    type: "file",
    mode: 0o644,
    size: bytes.length,
    open: () => {
      let at = 0;
      return {
        read: (into) => {
          const got = bytes.copy(into, 0, at);
          at += got;
          return got;
        },
        [Symbol.dispose]: () => undefined,
      };
    },
    ...more,
  };
}

export function directory(more: Partial<FileEntry> = {}): FileEntry {
  return { ...BASE, type: "directory", mode: 0o755, ...more };
}

export function symlink(linkTarget: string, more: Partial<FileEntry> = {}): FileEntry {
  return { ...BASE, type: "symlink", mode: 0o777, linkTarget, ...more };
}

export function write(path: string, entry: FileEntry): Change {
  return { kind: "write", path, entry };
}

export function remove(path: string): Change {
  return { kind: "remove", path };
}

export function opaque(path: string): Change {
  return { kind: "opaque", path };
}
