import { createHash } from "node:crypto";
import { once as eventOf } from "node:events";
import { type Pack, pack as createPack } from "tar-stream";
import { TsbuildError } from "../errors.js";
import { digestFromHex, digestOf } from "../oci/digest.js";
import type { Descriptor } from "../oci/types.js";
import { openOutputFile, type OutputFile } from "./output-files.js";
import { once, type OutputBlob } from "./output-image.js";

/** An archive that is being written. */
export interface Archive {
  /** Appends a file. @throws TsbuildError STORE_FAILED when the source gives other bytes than its descriptor says */
  add(name: string, blob: OutputBlob): Promise<void>;
  addBytes(name: string, bytes: Uint8Array): Promise<void>;
}

/** The archive's other end: its bytes go to the file, and `failed` never resolves, so that every wait can race it. */
interface Drain {
  readonly done: Promise<void>;
  readonly failed: Promise<never>;
}

/** What every `add` of one archive needs. */
interface Packing {
  readonly what: string;
  readonly pack: Pack;
  readonly failed: Promise<never>;
  readonly signal: AbortSignal;
}

function wrongBytes(what: string, { digest, size }: Descriptor, found: string): TsbuildError {
  return new TsbuildError(
    "STORE_FAILED",
    `tried to write ${what}: the bytes of blob ${digest} of ${size} bytes are ${found}`,
    { hint: "the source is damaged or was cut short; try again" },
  );
}

function drain(pack: Pack, output: OutputFile): Drain {
  const done = (async (): Promise<void> => {
    // The package types its streams by what any stream may carry; this one carries what `append` wrote.
    for await (const chunk of pack as AsyncIterable<Uint8Array>) await output.write(chunk);
  })();
  const failed = new Promise<never>((_, reject) => {
    done.catch(reject);
  });
  failed.catch(() => undefined); // Whoever waits races it; between two waits nobody listens.
  return { done, failed };
}

/** Appends one file. Its size stands in front of it, so a source that gives other bytes is an error, never a bad archive. */
async function append(
  { what, pack, failed, signal }: Packing,
  name: string,
  blob: OutputBlob,
): Promise<void> {
  const { digest, size } = blob.descriptor;
  const entry = pack.entry({ name, size, mode: 0o644, mtime: new Date(0) });
  const closed = eventOf(entry, "close");
  closed.catch(() => undefined);
  const hash = createHash("sha256");
  let written = 0;
  for await (const chunk of blob.open(signal)) {
    signal.throwIfAborted();
    written += chunk.byteLength;
    if (written > size) throw wrongBytes(what, blob.descriptor, "longer");
    hash.update(chunk);
    if (!entry.write(chunk)) await Promise.race([eventOf(entry, "drain"), failed]);
  }
  const found = digestFromHex(hash.digest("hex"));
  if (found !== digest) throw wrongBytes(what, blob.descriptor, `${found} of ${written} bytes`);
  entry.end(undefined);
  await Promise.race([closed, failed]);
}

/**
 * Writes a tar of blobs. The file is there complete or not at all; no more than a few chunks are in memory.
 * @param what as errors name it: "the docker archive"
 * @param fill adds every file
 * @throws TsbuildError STORE_FAILED when the file cannot be written or a source is damaged
 */
export async function writeArchive(
  path: string,
  what: string,
  fill: (archive: Archive) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  await using output = await openOutputFile(path, what);
  const stop = new AbortController();
  const pack = createPack();
  const { done, failed } = drain(pack, output);
  failed.catch((error: unknown) => stop.abort(error));
  const packing = { what, pack, failed, signal: AbortSignal.any([signal, stop.signal]) };
  const add = (name: string, blob: OutputBlob): Promise<void> => append(packing, name, blob);
  const addBytes = (name: string, bytes: Uint8Array): Promise<void> => {
    const descriptor = { mediaType: "", digest: digestOf(bytes), size: bytes.byteLength };
    return add(name, { descriptor, open: () => once(bytes) });
  };
  try {
    await fill({ add, addBytes });
    pack.finalize();
    await done;
  } catch (error) {
    pack.destroy();
    await done.catch(() => undefined);
    throw error;
  }
  signal.throwIfAborted();
  await output.commit();
}
