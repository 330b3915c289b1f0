import {
  closeSync,
  ftruncateSync,
  openSync,
  readSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { errnoOf, TsbuildError } from "../../errors.js";
import { diskFullHint } from "../../internal/disk-full.js";
import { SpillFile } from "../../internal/spill-file.js";
import {
  decompress,
  isZero,
  SNIFF_LENGTH,
  sniffCompression,
  TarReader,
  type TarEntry,
} from "../../layer/index.js";
import type { FileEntry, FileReader } from "../../oci/tree.js";
import { EntryLog } from "./entry-log.js";
import { cleanRelative } from "./paths.js";

/**
 * A tar that ADD unpacks: its entries in its order, their content in one file, and nothing of them in memory beyond a
 * bound. Disposing closes and deletes the files.
 */
export interface Archive extends AsyncDisposable {
  /** Places in `log`. */
  readonly entries: Iterable<number>;
  /** How many of them are hard links. */
  readonly hardlinks: number;
  readonly log: EntryLog;
  /** Room for whatever else is to be known of the entries. */
  readonly spill: SpillFile;
  /** The content of a file. @param content Its place, from the log. */
  open(content: number, size: number): FileReader;
}

export interface ArchiveOptions {
  /** For messages: `/rootfs.tar.gz of the context`. */
  readonly what: string;
  /** A file that does not exist yet, for the content of the archive's files. */
  readonly spoolPath: string;
  readonly signal: AbortSignal;
}

const CHUNK = 256 * 1024; // bytes
const BLOCK = 512; // bytes; a tar's unit
/** Bytes. Fewer zeros are written like everything else. */
const LEAST_HOLE = 8 * 1024;
/** Hard links whose targets are looked for: their names are in memory. */
const MAX_TRACED = 10_000;
/** Bytes of holes that are nobody's concern; what is beyond has to find room on the disk. */
const HARMLESS_HOLES = 2 ** 30;

/**
 * Reads a file as a tar, plain or compressed with gzip, bzip2, xz or zstd, by its content. `undefined` when it is none:
 * when its first header is not one.
 * @throws TsbuildError CONTEXT_UNREADABLE when it begins as a tar and is damaged further on; STORE_FAILED when the disk is full; ABORTED
 */
export async function openArchive(
  file: FileEntry,
  options: ArchiveOptions,
): Promise<Archive | undefined> {
  if (file.type !== "file" || file.size < BLOCK / 8) return undefined;
  const compression = sniffCompression(firstBytes(file, SNIFF_LENGTH));
  const damaged = { what: options.what, code: "CONTEXT_UNREADABLE" } as const;
  const chunks = decompress(read(file, options.signal), compression, damaged);
  const spool = new Spool(options.spoolPath);
  let keep = false;
  try {
    const reader = new TarReader(spool, damaged);
    try {
      for await (const chunk of chunks) {
        if (reader.offset === 0 && chunk.subarray(0, BLOCK).every((byte) => byte === 0)) break;
        reader.write(chunk);
      }
      reader.finish();
    } catch (error) {
      // What fails before the first entry was no archive, only something that begins like one.
      if (options.signal.aborted || spool.count > 0 || !isDamage(error)) throw error;
    }
    if (spool.count === 0) return undefined;
    spool.finish();
    keep = true;
    return spool;
  } finally {
    if (!keep) spool.close();
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof TsbuildError && error.code === "CONTEXT_UNREADABLE";
}

/** Whether a hard link in it may lead to a file that it does not bring itself. Of very many, one may. */
export function linksElsewhere({ entries, hardlinks, log }: Archive): boolean {
  if (hardlinks === 0 || hardlinks > MAX_TRACED) return hardlinks > 0;
  const targets = new Set<string>();
  for (const place of entries) {
    const { entry } = log.at(place);
    if (entry.type === "hardlink") targets.add(cleanRelative(entry.linkTarget ?? ""));
  }
  for (const place of entries) {
    const { name, entry } = log.at(place);
    if (entry.type !== "hardlink") targets.delete(cleanRelative(name));
  }
  return targets.size > 0;
}

/** Takes a tar's entries, their content into one file, one after the other. */
class Spool implements Archive {
  readonly log: EntryLog;
  readonly spill: SpillFile;
  readonly #path: string;
  readonly #buffer: Buffer = Buffer.allocUnsafe(CHUNK);
  #descriptor: number | undefined;
  #filled = 0;
  /** Where the buffer's first byte belongs. */
  #position = 0;
  #holes = 0;
  #count = 0;
  #hardlinks = 0;
  #name = "";
  #end = 0;

  constructor(path: string) {
    this.#path = path;
    this.spill = new SpillFile(`${path}.entries`, "the entries of an archive");
    this.log = new EntryLog(this.spill);
  }

  get count(): number {
    return this.#count;
  }

  get hardlinks(): number {
    return this.#hardlinks;
  }

  get entries(): Iterable<number> {
    return this.log.places(this.#end);
  }

  entry(tar: TarEntry): void {
    this.#count++;
    this.#name = tar.path;
    const { type, mode } = tar;
    if (type === "hardlink") this.#hardlinks++;
    const content = this.#position + this.#filled;
    // A link has no mode of its own.
    const entry = { ...tar, mode: type === "symlink" ? 0o777 : mode & 0o7777 };
    this.log.add({ name: tar.path, entry, content, linkGroup: 0, made: false });
    this.#end = this.log.end;
  }

  data(chunk: Uint8Array): void {
    if (chunk.length >= LEAST_HOLE && isZero(chunk)) return this.#skip(chunk.length);
    for (let at = 0; at < chunk.length;) {
      const count = Math.min(chunk.length - at, CHUNK - this.#filled);
      this.#buffer.set(chunk.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === CHUNK) this.#flush();
    }
  }

  /** A hole stays one: it takes no space. */
  hole(bytes: number): void {
    this.#skip(bytes);
    this.#holes += bytes;
    if (this.#holes > HARMLESS_HOLES) this.#mustFit();
  }

  end(): void {}

  skipped(): void {}

  /** Makes everything readable, a hole at the end too. */
  finish(): void {
    this.#flush();
    this.#call((descriptor) => ftruncateSync(descriptor, this.#position));
  }

  close(): void {
    this.spill[Symbol.dispose]();
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  #skip(bytes: number): void {
    this.#flush();
    this.#position += bytes;
  }

  /** A layer writes holes out: a few bytes that stand for a million times as many must not keep a build busy for days. */
  #mustFit(): void {
    const { bavail, bsize } = statfsSync(dirname(this.#path));
    if (this.#holes <= bavail * bsize) return;
    const name = this.#name.slice(0, 200);
    throw new TsbuildError(
      "STORE_FAILED",
      `tried to unpack ${JSON.stringify(name)}: sparse files of ${this.#holes} bytes do not fit the disk`,
      { hint: "the store's filesystem has less space; choose another with --store=<directory>" },
    );
  }

  #flush(): void {
    for (let at = 0; at < this.#filled;) {
      const from = at;
      at += this.#call((descriptor) =>
        writeSync(descriptor, this.#buffer, from, this.#filled - from, this.#position + from),
      );
    }
    this.#position += this.#filled;
    this.#filled = 0;
  }

  open(start: number, size: number): FileReader {
    let at = 0;
    return {
      read: (into) => {
        const count = Math.min(into.length, size - at);
        if (count === 0) return 0;
        const got = this.#call((descriptor) => readSync(descriptor, into, 0, count, start + at));
        at += got;
        return got;
      },
      [Symbol.dispose]: () => {
        at = size;
      },
    };
  }

  #call<T>(call: (descriptor: number) => T): T {
    try {
      this.#descriptor ??= openUnlinked(this.#path);
      return call(this.#descriptor);
    } catch (error) {
      throw new TsbuildError(
        "STORE_FAILED",
        `tried to keep the content of an archive at ${this.#path}: ${errnoOf(error) ?? String(error)}`,
        { cause: error, ...diskFullHint(error) },
      );
    }
  }
}

/** Without a name it is gone however the build ends. */
function openUnlinked(path: string): number {
  const descriptor = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  return descriptor;
}

function firstBytes(file: FileEntry, count: number): Uint8Array {
  const reader = file.open?.();
  if (reader === undefined) return new Uint8Array(0);
  try {
    const bytes = new Uint8Array(count);
    return bytes.subarray(0, reader.read(bytes));
  } finally {
    reader[Symbol.dispose]();
  }
}

async function* read(file: FileEntry, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = file.open?.();
  if (reader === undefined) return;
  try {
    for (;;) {
      signal.throwIfAborted();
      // A new buffer each time: what decompresses it works on another thread.
      const chunk = Buffer.allocUnsafe(CHUNK);
      const count = reader.read(chunk);
      if (count === 0) return;
      yield chunk.subarray(0, count);
    }
  } finally {
    reader[Symbol.dispose]();
  }
}
