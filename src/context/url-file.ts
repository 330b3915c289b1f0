import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { posix } from "node:path";
import { errnoOf, TsbuildError } from "../errors.js";
import { networkMessage } from "../internal/http-errors.js";
import { basicAuthorization } from "../internal/http-redirect.js";
import type { HttpClient } from "../internal/http.js";
import { redactUrl } from "../internal/redact.js";
import { type RetryPolicy, retry } from "../internal/retry.js";
import { type Digest, digestFromHex, parseDigest } from "../oci/digest.js";
import type { DownloadCache, DownloadRecord, UrlFile } from "./types.js";
import { requestBytes, requestUnchanged, type UrlAnswer, type UrlRequests } from "./url-request.js";

export interface UrlFileOptions {
  readonly client: HttpClient;
  readonly cache: DownloadCache;
  /** A new name on the cache's filesystem, for the bytes while they come. */
  readonly temporaryPath: () => Promise<string>;
  /** `--checksum`: what the content must hash to. */
  readonly checksum?: string;
  /** A header for the URL's host, in place of the login that the URL may have. Never shown. */
  readonly authorization?: string;
  readonly signal: AbortSignal;
}

/** What `ADD` of a URL without a last path element is called. */
const UNNAMED = "__unnamed__";
/** For connections that break and servers that are busy; one that sends nothing is not asked again. */
const RETRY: RetryPolicy = {
  attempts: 3,
  firstDelayMs: 300,
  maxDelayMs: 2_000,
  maxRetryAfterMs: 20_000,
};

/** The name that a URL gives its file: the query is not part of it. */
export function urlFileName(url: URL | string): string {
  if (!URL.canParse(String(url))) return UNNAMED;
  const name = posix.basename(decoded(new URL(url).pathname));
  return ["", ".", "..", "/"].includes(name) || name.includes("\0") ? UNNAMED : name;
}

/** The digest that `--checksum` says. @throws TsbuildError DOCKERFILE_INVALID */
export function parseUrlChecksum(text: string): Digest {
  const hint = "expected sha256: and 64 hexadecimal digits";
  const algorithm = text.slice(0, text.indexOf(":"));
  const refuse = (why: string, cause?: unknown): TsbuildError =>
    new TsbuildError("DOCKERFILE_INVALID", `${why} in --checksum=${text}`, { hint, cause });
  if (algorithm !== "sha256") throw refuse("unsupported digest algorithm");
  try {
    return parseDigest(text);
  } catch (error) {
    throw refuse("invalid digest", error);
  }
}

/**
 * The file that a URL names. Bytes that are in the cache and match the checksum are taken without asking anybody; without
 * a checksum the server is asked whether they still are what it has. Redirects are followed; credentials go to no other
 * host. What is downloaded goes into the cache.
 * @throws TsbuildError DOCKERFILE_INVALID, CONTEXT_UNREADABLE, STORE_FAILED
 */
export async function fetchUrlFile(text: string, options: UrlFileOptions): Promise<UrlFile> {
  const expected = options.checksum === undefined ? undefined : parseUrlChecksum(options.checksum);
  const shown = redactUrl(text);
  try {
    const requests = requestsFor(text, options);
    const known = await options.cache.find(requests.key);
    return await (expected === undefined
      ? findCurrent(requests, known, options)
      : findPinned(requests, known, expected, options));
  } catch (error) {
    if (error instanceof TsbuildError || options.signal.aborted) throw error;
    throw failure(
      shown,
      errnoOf(error) === "ENOSPC" ? "the disk is full" : networkMessage(error),
      error,
    );
  }
}

interface Source extends UrlRequests {
  /** For messages. */
  readonly shown: string;
  /** What the cache knows it by: the address without a login. */
  readonly key: string;
}

function requestsFor(text: string, { client, authorization, signal }: UrlFileOptions): Source {
  const url = new URL(text);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  url.hash = "";
  const login =
    authorization ?? (username === "" ? undefined : basicAuthorization(username, password));
  return { url, key: url.href, shown: redactUrl(url), client, authorization: login, signal };
}

async function findPinned(
  source: Source,
  known: readonly DownloadRecord[],
  expected: Digest,
  options: UrlFileOptions,
): Promise<UrlFile> {
  const same = known.find(({ digest }) => digest === expected);
  const path = same === undefined ? undefined : await options.cache.open(same, options.signal);
  if (same !== undefined && path !== undefined) return fileOf(source, same, path);
  return download(source, [], expected, options);
}

async function findCurrent(
  source: Source,
  known: readonly DownloadRecord[],
  options: UrlFileOptions,
): Promise<UrlFile> {
  const same = await requestUnchanged(source, known);
  if (same === undefined) return download(source, known, undefined, options);
  const path = await options.cache.open(same, options.signal);
  if (path !== undefined) return fileOf(source, same, path);
  return download(source, without(known, same), undefined, options);
}

/** Asks for the bytes, unless one of `known` is still them. */
async function download(
  source: Source,
  known: readonly DownloadRecord[],
  expected: Digest | undefined,
  options: UrlFileOptions,
): Promise<UrlFile> {
  const { cache, signal } = options;
  const found = await retry(RETRY, signal, async () => {
    const answer = await requestBytes(source, known);
    return answer.kind === "bytes" ? receive(source, answer, expected, options) : answer;
  });
  switch (found.kind) {
    case "file":
      return fileOf(source, found.record, await cache.keep(source.key, found.path, found.record));
    case "unchanged": {
      const path = await cache.open(found.record, signal);
      if (path !== undefined) return fileOf(source, found.record, path);
      return download(source, without(known, found.record), expected, options);
    }
    case "status":
      throw failure(source.shown, `invalid response status ${found.status}`, undefined, found.hint);
  }
}

interface Received {
  readonly kind: "file";
  readonly path: string;
  readonly record: DownloadRecord;
}

/** Writes the bytes to a new file, which is gone when they are not what they should be. */
async function receive(
  { shown }: Source,
  { body, ...said }: Extract<UrlAnswer, { readonly kind: "bytes" }>,
  expected: Digest | undefined,
  { temporaryPath, signal }: UrlFileOptions,
): Promise<Received> {
  const path = await temporaryPath();
  try {
    const { digest, size } = await write(path, body, signal);
    if (expected !== undefined && expected !== digest) {
      throw failure(shown, `digest mismatch ${digest}: ${expected} was expected`);
    }
    return { kind: "file", path, record: { digest, size, ...said.validators } };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function write(
  path: string,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<{ readonly size: number; readonly digest: Digest }> {
  const hash = createHash("sha256");
  let size = 0;
  await using file = await open(path, "wx");
  for await (const chunk of body) {
    signal.throwIfAborted();
    hash.update(chunk);
    size += chunk.byteLength;
    await file.writeFile(chunk);
  }
  return { size, digest: digestFromHex(hash.digest("hex")) };
}

function fileOf({ url }: Source, record: DownloadRecord, path: string): UrlFile {
  const { digest, size, lastModified } = record;
  const modified = Date.parse(lastModified ?? "");
  const mtimeNs = Number.isNaN(modified) ? 0n : BigInt(modified) * 1_000_000n;
  return { path, name: urlFileName(url), size, digest, mtimeNs };
}

function without(
  known: readonly DownloadRecord[],
  record: DownloadRecord,
): readonly DownloadRecord[] {
  return known.filter(({ digest }) => digest !== record.digest);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function failure(shown: string, why: string, cause?: unknown, hint?: string): TsbuildError {
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${shown}: ${why}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}
