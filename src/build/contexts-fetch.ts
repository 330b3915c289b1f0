import { createReadStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { UrlFile } from "../context/types.js";
import { TsbuildError, unreachable } from "../errors.js";
import type { Emit } from "../solver/types.js";
import { unpackContext } from "./contexts-archive.js";
import type { RemotePlace } from "./contexts-place.js";
import type { BuildOptions } from "./options.js";
import { Sources } from "./sources.js";

/**
 * Fetches contexts into directories of the store's staging area, which is on the disk that has room. What it opens and
 * makes is gone when it is disposed, and it opens nothing until it is asked for something.
 */
export class ContextFetcher implements AsyncDisposable {
  readonly #options: BuildOptions;
  readonly #emit: Emit;
  readonly #signal: AbortSignal;
  /** What ADD reads from too: what a context has fetched is not fetched again. */
  readonly remote: Sources;

  /** @param onFetch hears that something is about to be asked for over the network */
  constructor(options: BuildOptions, emit: Emit, signal: AbortSignal, onFetch?: () => void) {
    this.#options = options;
    this.#emit = emit;
    this.#signal = signal;
    this.remote = new Sources(options, signal, onFetch);
  }

  /** A file of a URL, to be read and not changed. @throws TsbuildError CONTEXT_UNREADABLE, STORE_FAILED */
  file(url: string): Promise<UrlFile> {
    return this.remote.file(url);
  }

  get signal(): AbortSignal {
    return this.#signal;
  }

  /**
   * A directory with the files that are at `place`.
   * @param what for messages: `context`, `context assets`
   * @param maybeDockerfile whether a text in place of an archive is a Dockerfile
   * @throws TsbuildError CONTEXT_UNREADABLE, STORE_FAILED, USAGE
   */
  async directoryOf(place: RemotePlace, what: string, maybeDockerfile: boolean): Promise<string> {
    const directory = await this.remote.stagingPath("context");
    const signal = this.#signal;
    if (place.kind === "git") {
      return (await this.remote.checkOut(place.ref, directory, place.credentials)).path;
    }
    await mkdir(directory, { mode: 0o700 });
    const shown = `the ${what} ${place.shown}`;
    const unpacking = { directory, what: shown, maybeDockerfile, signal };
    const skipped = await this.#read(place, (bytes) => unpackContext(bytes, unpacking));
    if (skipped > 0) {
      const message = `${shown}: ${skipped} devices or fifos in the archive were left out`;
      this.#emit({ type: "notice", message });
    }
    return directory;
  }

  async #read(
    place: Exclude<RemotePlace, { kind: "git" }>,
    use: (bytes: AsyncIterable<Uint8Array>) => Promise<number>,
  ): Promise<number> {
    switch (place.kind) {
      case "stdin":
        return this.#through(this.#stdin(), use);
      case "tar":
        return this.#through(createReadStream(place.path), use);
      case "url": {
        const { path } = await this.remote.file(place.url);
        return this.#through(createReadStream(path), use);
      }
      default:
        return unreachable(place);
    }
  }

  #stdin(): Readable {
    const { stdin } = this.#options;
    if (stdin !== undefined) return stdin;
    throw new TsbuildError("USAGE", "the context is to be read from stdin, which was not given");
  }

  /** Closes the stream on every path: a read that waits for bytes would go on for ever. */
  async #through(
    stream: Readable,
    use: (bytes: AsyncIterable<Uint8Array>) => Promise<number>,
  ): Promise<number> {
    const close = (): unknown => stream.destroy();
    this.#signal.addEventListener("abort", close, { once: true });
    try {
      this.#signal.throwIfAborted();
      return await use(bytesOf(stream));
    } finally {
      this.#signal.removeEventListener("abort", close);
      close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remote[Symbol.asyncDispose]();
  }
}

async function* bytesOf(stream: Readable): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream as AsyncIterable<Uint8Array | string>) {
    yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
  }
}
