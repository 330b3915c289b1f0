import { once as eventOf } from "node:events";
import { extract as createExtract, type Extract, type Header } from "tar-stream";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { TarPlaces, type TarFacts } from "./tar-places.js";

export interface TarOptions {
  /** An empty directory that nobody else writes to. */
  readonly directory: string;
  /** For messages: `the context tar://app.tar`. */
  readonly what: string;
  readonly signal: AbortSignal;
}

type Entry = Extract extends AsyncIterable<infer E> ? E : never;

/** Archives of the seventh edition have no magic number; their sums are checked all the same. */
const READING = { highWaterMark: 256 * 1024, allowUnknownFormat: true };
const BLOCK = 512;
/** Where a header holds its own sum, as spaces while it is computed. */
const SUM_AT = 148;
const SUM_LENGTH = 8;

/** Whether the first block of a file is a tar's: a header whose sum is right, or the end of an empty one. */
export function looksLikeTar(firstBytes: Uint8Array): boolean {
  if (firstBytes.length < BLOCK) return false;
  let sum = 0;
  let empty = true;
  for (const [at, byte] of firstBytes.subarray(0, BLOCK).entries()) {
    empty &&= byte === 0;
    sum += at >= SUM_AT && at < SUM_AT + SUM_LENGTH ? 0x20 : byte;
  }
  const field = Buffer.from(firstBytes.subarray(SUM_AT, SUM_AT + SUM_LENGTH)).toString("latin1");
  return empty || Number.parseInt(field, 8) === sum;
}

/**
 * Unpacks a plain tar into a directory, as a context. Nothing outside of it is reached: names that climb above it and
 * names that lead through a link are errors, absolute ones begin at the directory. Links are kept as they are, since
 * nothing here follows them. Owners are dropped: in a context everything belongs to root. The memory that it takes
 * grows with the number of directories alone.
 * @returns how many entries were passed over: devices and fifos
 * @throws TsbuildError CONTEXT_UNREADABLE when the archive is cut short, damaged or hostile, STORE_FAILED when the disk is full
 */
export async function unpackTar(
  bytes: AsyncIterable<Uint8Array>,
  { directory, what, signal }: TarOptions,
): Promise<number> {
  signal.throwIfAborted();
  const extract = createExtract(READING);
  const places = new TarPlaces(directory);
  const abort = (): void => extract.destroy(new Error("aborted"));
  signal.addEventListener("abort", abort, { once: true });
  // What broke it: whoever reads an entry of it at that moment is only told that the stream was destroyed.
  let broken: unknown;
  extract.on("error", (error) => (broken = error));
  const closed = eventOf(extract, "close");
  closed.catch(() => undefined);
  let skipped = 0;
  let name: string | undefined;
  try {
    const feeding = feed(bytes, extract);
    for await (const entry of extract) {
      ({ name } = entry.header);
      if (!(await place(entry, places))) skipped += 1;
    }
    await feeding;
    places.finish();
    return skipped;
  } catch (error) {
    extract.destroy();
    await closed.catch(() => undefined);
    signal.throwIfAborted();
    throw failure(what, name, broken ?? error);
  } finally {
    signal.removeEventListener("abort", abort);
    extract.destroy();
  }
}

/** Ends with the archive or with whoever reads it. What the source throws, the reader of the archive gets. */
async function feed(bytes: AsyncIterable<Uint8Array>, extract: Extract): Promise<void> {
  const closed = new AbortController();
  extract.once("close", () => closed.abort());
  try {
    for await (const chunk of bytes) {
      if (closed.signal.aborted) return;
      if (extract.write(chunk)) continue;
      await eventOf(extract, "drain", { signal: closed.signal }).catch(() => undefined);
    }
    extract.end(undefined);
  } catch (error) {
    extract.destroy(error instanceof Error ? error : new Error(messageOf(error)));
  }
}

/** @returns whether the entry is one that a context can hold */
async function place(entry: Entry, places: TarPlaces): Promise<boolean> {
  const { header } = entry;
  const { type, linkname } = header;
  const facts = factsOf(header);
  switch (type) {
    case "file":
    case "contiguous-file":
      // What was a directory to the seventh edition.
      if (header.name.endsWith("/")) return passing(entry, () => places.directory(facts));
      await places.file(facts, entry as AsyncIterable<Uint8Array>);
      return true;
    case "directory":
      return passing(entry, () => places.directory(facts));
    case "symlink":
      return passing(entry, () => places.symlink(facts, linkname));
    case "link":
      return passing(entry, () => places.hardLink(facts, linkname));
    case "character-device":
    case "block-device":
    case "fifo":
      entry.resume();
      return false;
    default:
      throw new Error("its type is unknown: archive sparse files whole, without tar's --sparse");
  }
}

/** For entries without content of their own: what follows them is passed over. */
function passing(entry: Entry, put: () => void): true {
  entry.resume();
  put();
  return true;
}

function factsOf({ name, mode, mtime, linkname, pax }: Header): TarFacts {
  // Its own records, which the package does not apply.
  const records = new Map<string, unknown>(Object.entries(pax ?? {}));
  if ([...records.keys()].some((key) => key.startsWith("GNU.sparse."))) {
    throw new Error("it is sparse: archive it whole, without tar's --sparse");
  }
  // The package replaces what is no UTF-8: the name would be another one.
  if (/[\0\uFFFD]/.test(name + linkname)) throw new Error("its name is not UTF-8");
  const seconds = Number(records.get("mtime"));
  return {
    name,
    mode: mode & 0o7777,
    mtime: Number.isFinite(seconds) ? seconds : mtime.getTime() / 1000,
  };
}

function failure(what: string, name: string | undefined, error: unknown): Error {
  if (error instanceof TsbuildError) return error;
  const errno = errnoOf(error);
  const full = errno === "ENOSPC" || errno === "EDQUOT";
  const cut = messageOf(error) === "Unexpected end of data";
  const why = full ? "the disk is full" : cut ? "the archive is cut short" : messageOf(error);
  const where = name === undefined ? "" : `, at ${JSON.stringify(name.slice(0, 200))}`;
  return new TsbuildError(
    full ? "STORE_FAILED" : "CONTEXT_UNREADABLE",
    `tried to unpack ${what}: ${why}${where}`,
    { cause: error },
  );
}
