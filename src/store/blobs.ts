import { chmod, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { TsbuildError, errnoOf } from "../errors.js";
import { type Digest, hexOf } from "../oci/digest.js";
import type { Hashing } from "../internal/hashing.js";
import type { Uses } from "../internal/in-use.js";
import { storeFailure } from "./failure.js";
import {
  type HashedRead,
  type HashedReading,
  closeUnread,
  hashedBefore,
  readHashed,
  writeHashed,
} from "./hashed-file.js";
import type { BlobStore } from "./types.js";

const REFETCH = "the damaged file was removed; build again and it is fetched or made anew";
/** By whoever gets to the file. */
const READABLE = 0o644;
/** Errors of a read that speak of the file, not of this process or its limits. */
const UNREADABLE: ReadonlySet<string> = new Set(["EIO", "EBADMSG", "EUCLEAN", "EACCES", "EPERM"]);

/** Deletes a blob unless its name means another file than the one that was found bad. */
async function removeDamaged(path: string, inode: bigint | undefined): Promise<void> {
  try {
    const now = await stat(path, { bigint: true });
    if (inode === undefined || now.ino === inode) await rm(path, { force: true });
  } catch {
    // A store that cannot be written keeps it; the error that follows says what is wrong.
  }
}

async function* readBlob(
  path: string,
  digest: Digest,
  { signal, hashing }: Required<HashedReading>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let found: HashedRead;
  try {
    found = yield* readHashed(path, { signal, hashing });
  } catch (error) {
    if (signal.aborted) throw error;
    const errno = errnoOf(error);
    if (errno === "ENOENT") {
      throw new TsbuildError(
        "STORE_FAILED",
        `tried to read blob ${digest} at ${path}: the store does not have it`,
        { cause: error, hint: "another process removed it; build again" },
      );
    }
    if (errno === undefined || !UNREADABLE.has(errno)) {
      throw storeFailure(`read blob ${digest}`, path, error);
    }
    await removeDamaged(path, undefined);
    throw new TsbuildError("STORE_FAILED", `tried to read blob ${digest} at ${path}: ${errno}`, {
      cause: error,
      hint: REFETCH,
    });
  }
  if (found.digest === digest) return;
  await removeDamaged(path, found.inode);
  throw new TsbuildError(
    "STORE_FAILED",
    `tried to read blob ${digest} at ${path}: its ${found.size} bytes hash to ${found.digest}`,
    { hint: REFETCH },
  );
}

function deleted(digest: Digest, path: string): TsbuildError {
  const message = `tried to store blob ${digest} at ${path}: it was deleted`;
  const hint = "another process cleaned the store up; build again";
  return new TsbuildError("STORE_FAILED", message, { hint });
}

async function nameBlob(
  file: string,
  { path, digest }: { readonly path: string; readonly digest: Digest },
  uses: Uses,
): Promise<void> {
  try {
    // What is in a namespace of its own may be nobody to us. The directories keep everybody else out.
    await chmod(file, READABLE).catch(() => undefined);
    const now = new Date();
    await utimes(file, now, now).catch(() => undefined);
    await rename(file, path);
    if (await uses.kept(path)) return;
  } catch (error) {
    throw storeFailure(`store blob ${digest}`, path, error);
  }
  // Only when who took its predecessor away was killed before it could put this one back.
  throw deleted(digest, path);
}

/**
 * Blobs as files of `directory` under the hex digits of their digests. They come to be under names of the staging
 * directory, on the same filesystem, and are renamed: a name in `directory` is always whole, unless the machine itself
 * crashed, which `get` notices by the hash.
 */
export function createBlobStore(
  directory: string,
  stagingPath: (suffix: string) => string,
  { uses, hashing }: { readonly uses: Uses; readonly hashing: Hashing },
): BlobStore {
  const blobPath = (digest: Digest): string => join(directory, hexOf(digest));
  /** What was hashed on its way to its name. */
  const fresh = new Set<Digest>();

  const adoptBlob = async (file: string, digest: Digest): Promise<void> => {
    await nameBlob(file, { path: blobPath(digest), digest }, uses);
    fresh.add(digest);
  };

  const statBlob: BlobStore["stat"] = async (digest) => {
    const path = blobPath(digest);
    try {
      const found = await uses.use(path);
      return found?.isFile() === true ? { size: found.size } : undefined;
    } catch (error) {
      throw storeFailure(`look up blob ${digest}`, path, error);
    }
  };

  const put: BlobStore["put"] = async (bytes, expected, signal, options = {}) => {
    signal.throwIfAborted();
    if (expected !== undefined) {
      const known = await statBlob(expected.digest);
      if (known?.size === expected.size) {
        await closeUnread(bytes);
        return { digest: expected.digest, size: known.size };
      }
    }
    const file = stagingPath("blob");
    const what = expected === undefined ? "a blob" : `blob ${expected.digest}`;
    try {
      const asFailure = (error: unknown): Error => storeFailure(`write ${what}`, file, error);
      const about = { ...options, what, expected, asFailure, hashing };
      const content = await writeHashed(file, bytes, { ...about, signal });
      await adoptBlob(file, content.digest);
      return content;
    } catch (error) {
      await rm(file, { force: true }).catch(() => undefined);
      throw error;
    }
  };

  return {
    blobPath,
    adoptBlob,
    stat: statBlob,
    get: (digest, signal) => readBlob(blobPath(digest), digest, { signal, hashing }),
    getFresh: (digest, signal) =>
      readBlob(blobPath(digest), digest, {
        signal,
        hashing: fresh.has(digest) ? hashedBefore(digest) : hashing,
      }),
    put,
  };
}
