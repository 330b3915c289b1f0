import { createReadStream, lstatSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { GitCredentials, GitRef } from "../context/index.js";
import { decompress, SNIFF_LENGTH, sniffCompression, TarReader } from "../layer/index.js";
import type { Place } from "./contexts-place.js";
import type { Sources } from "./sources.js";

/** Seconds since the epoch. */
type Epoch = number | undefined;

/**
 * When what is at a place was made: the commit's time of a git repository; of a URL the server's Last-Modified, else the
 * latest file of the archive that is there. Directories and what comes on stdin have none, as in BuildKit.
 */
export async function placeEpoch(
  place: Place,
  remote: Sources,
  signal: AbortSignal,
): Promise<Epoch> {
  if (place.kind === "git") return gitEpoch(place.ref, place.credentials, remote);
  return place.kind === "url" ? urlEpoch(place.url, undefined, remote, signal) : undefined;
}

/** The committer's time of the commit that the reference names. */
export async function gitEpoch(
  ref: GitRef,
  credentials: GitCredentials | undefined,
  remote: Sources,
): Promise<Epoch> {
  const directory = await remote.stagingPath(".epoch");
  try {
    // Such a checkout has the commit's time everywhere. What was fetched for it is not fetched again.
    const { path } = await remote.checkOut({ ...ref, mtime: "commit" }, directory, credentials);
    return Math.floor(lstatSync(path).mtimeMs / 1000);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export async function urlEpoch(
  url: string,
  checksum: string | undefined,
  remote: Sources,
  signal: AbortSignal,
): Promise<Epoch> {
  const { path, mtimeNs } = await remote.file(url, checksum);
  if (mtimeNs !== 0n) return Number(mtimeNs / 1_000_000_000n);
  try {
    return await archiveEpoch(path, signal);
  } catch (error) {
    signal.throwIfAborted();
    // No archive, or half of one: what is wrong with it is said by who reads it.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** The latest time of a regular file in the archive. @throws Error for what is none */
async function archiveEpoch(path: string, signal: AbortSignal): Promise<Epoch> {
  let latest: bigint | undefined;
  const what = "the archive";
  const reader = new TarReader(
    {
      entry: ({ type, mtimeNs }) => {
        if (type === "file" && (latest === undefined || mtimeNs > latest)) latest = mtimeNs;
      },
      data: () => undefined,
      hole: () => undefined,
      end: () => undefined,
      skipped: () => undefined,
    },
    { what },
  );
  const compression = sniffCompression(await firstBytes(path));
  const bytes = createReadStream(path, { signal }) as AsyncIterable<Uint8Array>;
  for await (const chunk of decompress(bytes, compression, { what })) reader.write(chunk);
  reader.finish();
  return latest === undefined ? undefined : Number(latest / 1_000_000_000n);
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  const stream = createReadStream(path, { end: SNIFF_LENGTH - 1 }) as AsyncIterable<Buffer>;
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
