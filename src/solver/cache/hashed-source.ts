import type { FileSource } from "../../context/types.js";
import { hasSettled, type StatMemory } from "../../oci/content-digest.js";
import type { Hashing, OpenHash } from "../../internal/hashing.js";
import { settledBefore, type SettledBefore } from "../../internal/settled.js";
import type { FileEntry, FileReader, Tree } from "../../oci/tree.js";

/** SHA-256 of nothing, as the digests of files are written. */
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/**
 * The same files, whose digests are remembered as they are read: packing reads them all, and what decides the cache's key
 * is then known without reading them once more.
 */
export function hashedSource(source: FileSource, files: StatMemory, hashing: Hashing): FileSource {
  if (source.identity === undefined) return source;
  const tree: Tree = {
    lstat(path) {
      const entry = source.tree.lstat(path);
      const inner = entry?.type === "file" ? entry : undefined;
      const state = inner?.open === undefined ? undefined : source.identity?.(path);
      if (inner === undefined || state === undefined || files.get(state) !== undefined)
        return entry;
      // Nobody opens an empty file to pack it.
      if (inner.size === 0) {
        files.set(state, EMPTY, hasSettled(state, settledBefore(Date.now())));
        return entry;
      }
      return { ...inner, open: () => new HashingReader(inner, { state, files, hashing }) };
    },
    list: (path) => source.tree.list(path),
    read: (path) => source.tree.read(path),
  };
  return { ...source, tree };
}

class HashingReader implements FileReader {
  readonly #reader: FileReader | undefined;
  readonly #state: string;
  readonly #files: StatMemory;
  readonly #hash: OpenHash;
  readonly #clock = settledBefore(Date.now());
  #left: number;

  constructor(
    entry: FileEntry,
    { state, files, hashing }: { state: string; files: StatMemory; hashing: Hashing },
  ) {
    this.#reader = entry.open?.();
    this.#left = entry.size;
    this.#state = state;
    this.#files = files;
    this.#hash = hashing.sha256(entry.size);
  }

  read(into: Uint8Array): number {
    const count = this.#reader?.read(into) ?? 0;
    if (this.#left === 0) return count;
    this.#hash.update(into.subarray(0, count));
    this.#left -= count;
    if (this.#left === 0) this.#finish();
    return count;
  }

  #finish(): void {
    this.#files.set(this.#state, this.#hash.digest(), hasSettled(this.#state, this.#clock));
  }

  [Symbol.dispose](): void {
    this.#hash[Symbol.dispose]();
    this.#reader?.[Symbol.dispose]();
  }
}

/** A file that nobody has read since it changed last, in this build. */
export class UnreadError extends Error {}

/**
 * What is known, and what has not changed since the `clock`: files that others of the same name replace are never read
 * for packing. Of a file that is neither, nobody can say what was packed.
 */
export function unchangedOnly(files: StatMemory, clock: SettledBefore): StatMemory {
  return {
    get(state) {
      const digest = files.get(state);
      if (digest !== undefined || hasSettled(state, clock)) return digest;
      throw new UnreadError("a file has changed during the build");
    },
    set: (state, digest, lasting) => files.set(state, digest, lasting),
  };
}
