import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../errors.js";
import { writeFileAtomic } from "../internal/atomic-file.js";
import type { Uses } from "../internal/in-use.js";
import type { Digest } from "../oci/digest.js";
import { storeFailure } from "./failure.js";
import { holdsContent } from "./hashed-file.js";
import type { BlobStore } from "./types.js";

/** What a server said of bytes that it sent. Nothing in it is secret. */
export interface DownloadRecord {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** The header as it came, with `W/` where it is weak. */
  readonly etag?: string;
  /** The header as it came. */
  readonly lastModified?: string;
  /** Whether `lastModified` tells these bytes from later ones: it was old enough when they came. */
  readonly dated: boolean;
}

/** What was fetched from URLs: records beside the blobs. Safe for several processes at once. */
export interface Downloads {
  /** What came from the URL and is still in the store, newest first. A record that cannot be read is none. */
  find(url: string): Promise<readonly DownloadRecord[]>;
  /**
   * The file with the bytes, which were just read and hashed; `undefined` when they are not what they were. What is
   * fetched in their place then replaces them.
   */
  open(record: DownloadRecord, signal: AbortSignal): Promise<string | undefined>;
  /**
   * Takes a file of the staging directory over, and remembers where it came from; the caller computed the digest.
   * @returns where the file is now
   * @throws TsbuildError STORE_FAILED
   */
  keep(url: string, file: string, record: DownloadRecord): Promise<string>;
}

/** Servers that answer in turn with several versions are remembered with all of them, within reason. */
const MAX_RECORDS = 8;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** Characters; longer validators than any server sends. */
const MAX_HEADER = 1024;

/**
 * One small file for each URL. It is named by the URL's hash, and the URL is not in it: addresses are signed or carry
 * tokens in their query. Two builds that write at once lose one of two records, which costs a download.
 */
export function createDownloads(directory: string, blobs: BlobStore, uses: Uses): Downloads {
  const pathOf = (url: string): string =>
    join(directory, createHash("sha256").update(url).digest("hex"));

  const open: Downloads["open"] = async ({ digest, size }, signal) => {
    const path = blobs.blobPath(digest);
    return (await holdsContent(path, { digest, size }, signal)) ? path : undefined;
  };

  return {
    async find(url) {
      const found: DownloadRecord[] = [];
      await uses.use(pathOf(url)).catch(() => undefined);
      for (const record of await readRecords(pathOf(url))) {
        const there = await blobs.stat(record.digest).catch(() => undefined);
        if (there?.size === record.size) found.push(record);
      }
      return found;
    },
    open,
    async keep(url, file, record) {
      await blobs.adoptBlob(file, record.digest);
      const path = pathOf(url);
      const others = (await readRecords(path)).filter((other) => !sameValidator(other, record));
      const records = [bounded(record), ...others].slice(0, MAX_RECORDS);
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await writeFileAtomic(path, `${JSON.stringify({ records })}\n`, 0o600);
      } catch (error) {
        throw storeFailure("remember a download", path, error);
      }
      return blobs.blobPath(record.digest);
    },
  };
}

/** A validator stands for the bytes that came with it last. */
function sameValidator(a: DownloadRecord, b: DownloadRecord): boolean {
  return a.etag === b.etag && a.lastModified === b.lastModified;
}

function bounded(record: DownloadRecord): DownloadRecord {
  const { etag = "", lastModified = "", ...rest } = record;
  return {
    ...rest,
    ...(etag === "" || etag.length > MAX_HEADER ? {} : { etag }),
    ...(lastModified === "" || lastModified.length > MAX_HEADER ? {} : { lastModified }),
  };
}

async function readRecords(path: string): Promise<readonly DownloadRecord[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw storeFailure("read what is known of a download", path, error);
  }
  try {
    const { records } = JSON.parse(text) as { readonly records?: unknown };
    return Array.isArray(records) ? records.filter(isRecord) : [];
  } catch {
    return [];
  }
}

function isRecord(value: unknown): value is DownloadRecord {
  if (typeof value !== "object" || value === null) return false;
  const { digest, size, etag, lastModified, dated } = value as Record<string, unknown>;
  const text = (field: unknown): boolean => field === undefined || typeof field === "string";
  return (
    typeof digest === "string" &&
    DIGEST.test(digest) &&
    Number.isSafeInteger(size) &&
    typeof dated === "boolean" &&
    text(etag) &&
    text(lastModified)
  );
}
