import { TsbuildError, messageOf, unreachable } from "../errors.js";
import type { FileEntry, FileReader } from "../oci/tree.js";
import { OPAQUE_NAME, WHITEOUT_PREFIX, joinPath, nameOf, parentOf } from "./entry-path.js";
import type { IndexBuilder } from "./index-builder.js";
import { INLINE_PATHS, MAX_INLINE } from "./index-format.js";
import { TRAILER, type TarHeader, bodyPadding, tarHeader } from "./tar/writer.js";
import type { Change, PackOptions } from "./types.js";

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const ZEROS: Uint8Array = new Uint8Array(512);

/** A block of the tar in the buffer it was asked to fill. */
export interface FilledBlock {
  readonly block: Buffer;
  readonly length: number;
}

/** Turns changes into the blocks of a tar and tells the index of each entry. Reads files synchronously. */
export class TarStream {
  readonly #changes: Iterable<Change>;
  readonly #index: IndexBuilder;
  readonly #options: Pick<PackOptions, "clampMtimeNs">;
  /** The node of the first name of each file that has several. */
  readonly #linkGroups = new Map<string, number>();
  readonly #extra: Buffer = Buffer.alloc(1);
  readonly #scratch: Buffer = Buffer.alloc(512);
  #take: () => Buffer = () => this.#extra;
  #block: Buffer = this.#extra;
  #filled = 0;
  #offset = 0;

  constructor(
    changes: Iterable<Change>,
    index: IndexBuilder,
    options: Pick<PackOptions, "clampMtimeNs">,
  ) {
    this.#changes = changes;
    this.#index = index;
    this.#options = options;
  }

  /** Fills one buffer of `take` after the other; all but the last one to the brim. */
  *blocks(take: () => Buffer): Generator<FilledBlock, void, void> {
    this.#take = take;
    this.#block = take();
    for (const change of this.#changes) yield* this.#change(change);
    yield* this.#put(TRAILER);
    if (this.#filled > 0) yield { block: this.#block, length: this.#filled };
  }

  *#change(change: Change): Generator<FilledBlock, void, void> {
    const { path } = change;
    switch (change.kind) {
      case "remove":
        this.#index.whiteout(path);
        return yield* this.#marker(joinPath(parentOf(path), WHITEOUT_PREFIX + nameOf(path)));
      case "opaque": {
        const directory = this.#index.directory(path);
        if (directory === undefined) throw failure(path, "it is no directory in the same layer");
        this.#index.opaque(directory);
        return yield* this.#marker(joinPath(path, OPAQUE_NAME));
      }
      case "write":
        // A socket lives no longer than the process that listens on it.
        if (change.entry.type !== "socket") yield* this.#write(path, change.entry);
        return;
      default:
        unreachable(change);
    }
  }

  *#marker(path: string): Generator<FilledBlock, void, void> {
    const header = {
      path,
      type: "file",
      mode: 0,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      size: 0,
      xattrs: NO_XATTRS,
    } as const;
    yield* this.#put(tarHeader(header, this.#scratch));
  }

  *#write(path: string, entry: FileEntry): Generator<FilledBlock, void, void> {
    if (nameOf(path).startsWith(WHITEOUT_PREFIX)) {
      throw failure(path, `names that begin with "${WHITEOUT_PREFIX}" mean deletions in an image`);
    }
    const group = entry.linkGroup;
    const first = group === undefined ? undefined : this.#linkGroups.get(group);
    if (first !== undefined)
      return yield* this.#link(path, entry, { path: this.#index.pathOf(first), node: first });
    if (entry.type === "hardlink") {
      const node = this.#index.find(entry.linkTarget ?? "");
      if (node !== undefined)
        return yield* this.#link(path, entry, { path: entry.linkTarget ?? "", node });
    }
    const header = this.#header(path, entry);
    const bytes = tarHeader(header, this.#scratch);
    const node = this.#index.add({ ...header, path }, this.#offset + bytes.length);
    if (group !== undefined) this.#linkGroups.set(group, node);
    yield* this.#put(bytes);
    if (header.size > 0) yield* this.#body(path, entry, header.size);
    else if (INLINE_PATHS.has(path) && header.type === "file")
      this.#index.setContent(node, Buffer.alloc(0));
  }

  *#link(
    path: string,
    entry: FileEntry,
    first: { path: string; node: number },
  ): Generator<FilledBlock, void, void> {
    this.#index.addLink(path, first.node);
    yield* this.#put(
      tarHeader({
        ...this.#header(path, entry),
        type: "hardlink",
        size: 0,
        linkTarget: first.path,
        xattrs: NO_XATTRS,
      }),
    );
  }

  #header(path: string, entry: FileEntry): TarHeader {
    const { clampMtimeNs } = this.#options;
    let mtimeNs = entry.mtimeNs;
    if (clampMtimeNs !== undefined && mtimeNs > clampMtimeNs) mtimeNs = clampMtimeNs;
    // The root is "./" in archives.
    return { ...entry, path: path === "" ? "." : path, mtimeNs };
  }

  /** Exactly `size` bytes: the header has promised them. */
  *#body(path: string, entry: FileEntry, size: number): Generator<FilledBlock, void, void> {
    const inline =
      INLINE_PATHS.has(path) && size <= MAX_INLINE ? Buffer.allocUnsafe(size) : undefined;
    using reader = open(path, entry);
    let done = 0;
    while (done < size) {
      // One byte more than is due, where there is room: it shows a file that has grown without another call.
      const asked = Math.min(size - done + 1, this.#block.length - this.#filled);
      const got = read(path, reader, this.#block.subarray(this.#filled, this.#filled + asked));
      if (got === 0) throw failure(path, "it shrank while it was read");
      if (got > size - done) throw failure(path, "it grew while it was read");
      if (inline !== undefined) this.#block.copy(inline, done, this.#filled, this.#filled + got);
      done += got;
      const atEnd = done === size && got < asked;
      yield* this.#advance(got);
      if (done === size && !atEnd && read(path, reader, this.#extra) > 0)
        throw failure(path, "it grew while it was read");
    }
    yield* this.#put(ZEROS.subarray(0, bodyPadding(size)));
    if (inline !== undefined) this.#index.setContent(this.#index.find(path) ?? 0, inline);
  }

  *#put(bytes: Uint8Array): Generator<FilledBlock, void, void> {
    for (let at = 0; at < bytes.length;) {
      const take = Math.min(bytes.length - at, this.#block.length - this.#filled);
      this.#block.set(bytes.subarray(at, at + take), this.#filled);
      at += take;
      yield* this.#advance(take);
    }
  }

  *#advance(bytes: number): Generator<FilledBlock, void, void> {
    this.#filled += bytes;
    this.#offset += bytes;
    if (this.#filled < this.#block.length) return;
    yield { block: this.#block, length: this.#filled };
    this.#block = this.#take();
    this.#filled = 0;
  }
}

function open(path: string, entry: FileEntry): FileReader {
  if (entry.open === undefined)
    throw new TsbuildError("INTERNAL", `tried to pack "${path}": nothing opens it`);
  try {
    return entry.open();
  } catch (error) {
    throw failure(path, messageOf(error), error);
  }
}

function read(path: string, reader: FileReader, into: Uint8Array): number {
  try {
    return reader.read(into);
  } catch (error) {
    throw failure(path, messageOf(error), error);
  }
}

function failure(path: string, because: string, cause?: unknown): TsbuildError {
  if (cause instanceof TsbuildError) return cause;
  return new TsbuildError("STORE_FAILED", `tried to pack "${path}" into a layer: ${because}`, {
    cause,
  });
}
