import { TsbuildError } from "../errors.js";
import { TRAILER, bodyPadding, tarHeader } from "../layer/index.js";
import type { FileEntry, FileReader } from "../oci/tree.js";
import type { OutputFile } from "../store/index.js";

/** Bytes that are gathered for one write. */
const BUFFER = 1024 * 1024;
const ZEROS: Uint8Array = new Uint8Array(512);
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** A tar of files as they are: owners, modes, times and extended attributes. One buffer is in memory. */
export class RootfsTar {
  readonly #output: OutputFile;
  readonly #signal: AbortSignal;
  readonly #buffer: Buffer = Buffer.allocUnsafe(BUFFER);
  #filled = 0;
  /** The first name of each file that has several. */
  #links = new Map<string, string>();

  constructor(output: OutputFile, signal: AbortSignal) {
    this.#output = output;
    this.#signal = signal;
  }

  /** Another filesystem begins: its files are never the same ones. */
  begin(): void {
    this.#links = new Map();
  }

  async add(path: string, entry: FileEntry): Promise<void> {
    this.#signal.throwIfAborted();
    // A socket lives no longer than the process that listens on it.
    if (entry.type === "socket") return;
    const { linkGroup } = entry;
    const first = linkGroup === undefined ? undefined : this.#links.get(linkGroup);
    if (first !== undefined) {
      const link = { ...entry, type: "hardlink", size: 0, linkTarget: first } as const;
      return this.#put(tarHeader({ ...link, path, xattrs: NO_XATTRS }));
    }
    if (linkGroup !== undefined) this.#links.set(linkGroup, path);
    await this.#put(tarHeader({ ...entry, path }));
    if (entry.type === "file" && entry.size > 0) await this.#body(path, entry);
  }

  async finish(): Promise<void> {
    await this.#put(TRAILER);
    await this.#flush();
  }

  async #body(path: string, entry: FileEntry): Promise<void> {
    const { size } = entry;
    if (entry.open === undefined) {
      throw new TsbuildError("INTERNAL", `tried to write "${path}" to a tar: nothing opens it`);
    }
    using reader: FileReader = entry.open();
    for (let done = 0; done < size;) {
      if (this.#filled === BUFFER) await this.#flush();
      const room = Math.min(BUFFER, this.#filled + size - done);
      const got = reader.read(this.#buffer.subarray(this.#filled, room));
      if (got === 0) {
        throw new TsbuildError(
          "STORE_FAILED",
          `tried to write "${path}" to a tar: its layer is shorter than its index says`,
        );
      }
      this.#filled += got;
      done += got;
    }
    await this.#put(ZEROS.subarray(0, bodyPadding(size)));
  }

  async #put(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      if (this.#filled === BUFFER) await this.#flush();
      const part = bytes.subarray(at, at + BUFFER - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
    }
  }

  async #flush(): Promise<void> {
    this.#signal.throwIfAborted();
    await this.#output.write(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
  }
}
