import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import type { HttpClient, HttpResponse } from "../internal/http.js";
import { StallError } from "../internal/http-body.js";
import { isTransientStatus, parseRetryAfter, TransientError } from "../internal/retry.js";
import type { DownloadRecord } from "./types.js";

/** How one URL is asked for. */
export interface UrlRequests {
  readonly client: HttpClient;
  /** Without user and password. */
  readonly url: URL;
  /** The header; never shown, and lost on the way to another host. */
  readonly authorization: string | undefined;
  readonly signal: AbortSignal;
}

/** What a record takes over from an answer. */
type Validators = Pick<DownloadRecord, "etag" | "lastModified" | "dated">;

export type UrlAnswer =
  | {
      readonly kind: "bytes";
      readonly body: AsyncIterable<Uint8Array>;
      readonly validators: Validators;
    }
  | { readonly kind: "unchanged"; readonly record: DownloadRecord }
  | { readonly kind: "status"; readonly status: number; readonly hint: string | undefined };

/**
 * A date has whole seconds: it is no validator for what was young when it came, since the next version may have the same
 * (RFC 9110, 8.8.2.2).
 */
const MIN_AGE_MS = 60_000;

/**
 * Which of `known` the server still has, asked with HEAD: some servers send everything again whatever the conditions of a
 * GET are, but tell the same ETag. A server that refuses HEAD has not said anything.
 */
export async function requestUnchanged(
  source: UrlRequests,
  known: readonly DownloadRecord[],
): Promise<DownloadRecord | undefined> {
  const conditions = conditionsOf(known);
  if (Object.keys(conditions).length === 0) return undefined;
  let response: HttpResponse;
  try {
    response = await ask("HEAD", source, conditions);
  } catch (error) {
    if (source.signal.aborted) throw error;
    return undefined;
  }
  await response.discard();
  return matching(response, known);
}

/**
 * Asks for the bytes, on the condition that they are none of `known`.
 * @throws TransientError where a later try may succeed; what the network gave
 */
export async function requestBytes(
  source: UrlRequests,
  known: readonly DownloadRecord[],
): Promise<UrlAnswer> {
  const response = await unstalled(() => ask("GET", source, conditionsOf(known)));
  const { status } = response;
  if (status >= 200 && status < 300) {
    return { kind: "bytes", body: bodyOf(response), validators: validatorsOf(response) };
  }
  await response.discard();
  const record = status === 304 ? matching(response, known) : undefined;
  if (record !== undefined) return { kind: "unchanged", record };
  if (isTransientStatus(status)) {
    const retryAfterMs = parseRetryAfter(response.header("retry-after"), Date.now());
    throw new TransientError(
      `invalid response status ${status}`,
      retryAfterMs === undefined ? {} : { retryAfterMs },
    );
  }
  return { kind: "status", status, hint: loginHint(source, status) };
}

function ask(
  method: "GET" | "HEAD",
  { client, url, authorization, signal }: UrlRequests,
  conditions: Readonly<Record<string, string>>,
): Promise<HttpResponse> {
  const headers = {
    "user-agent": "tsbuild",
    // As BuildKit asks: the answer to another question may have another ETag.
    "accept-encoding": "gzip",
    ...conditions,
    ...(authorization === undefined ? {} : { authorization }),
  };
  return client.request(url, { method, headers, signal });
}

function conditionsOf(known: readonly DownloadRecord[]): Readonly<Record<string, string>> {
  const etags = known.flatMap(({ etag }) => (etag === undefined ? [] : [etag]));
  if (etags.length > 0) return { "if-none-match": etags.join(", ") };
  const [date] = datesOf(known);
  return date === undefined ? {} : { "if-modified-since": date };
}

/** The newest one: a condition has room for one date. */
function datesOf(known: readonly DownloadRecord[]): readonly string[] {
  return known.flatMap(({ dated, lastModified }) =>
    dated && lastModified !== undefined ? [lastModified] : [],
  );
}

/** Which of `known` an answer to their conditions speaks of. */
function matching(
  response: HttpResponse,
  known: readonly DownloadRecord[],
): DownloadRecord | undefined {
  const { status } = response;
  if (status !== 200 && status !== 304) return undefined;
  const etag = response.header("etag");
  if (etag !== undefined) return known.find((record) => isSame(record.etag, etag));
  const tagged = known.filter((record) => record.etag !== undefined);
  // Some servers leave the tag out where there was only one to speak of.
  if (tagged.length > 0) return status === 304 && tagged.length === 1 ? tagged[0] : undefined;
  const [date] = datesOf(known);
  const record = known.find(({ dated, lastModified }) => dated && lastModified === date);
  if (status === 304 || record === undefined) return record;
  const length = response.header("content-length");
  const isLength = length === undefined || length === String(record.size);
  return isLength && response.header("last-modified") === date ? record : undefined;
}

/** Weak tags are compared like strong ones, as If-None-Match has it. */
function isSame(a: string | undefined, b: string): boolean {
  return a?.replace(/^W\//, "") === b.replace(/^W\//, "");
}

function validatorsOf(response: HttpResponse): Validators {
  const etag = response.header("etag");
  const lastModified = response.header("last-modified");
  const age = Date.parse(response.header("date") ?? "") - Date.parse(lastModified ?? "");
  return {
    dated: age >= MIN_AGE_MS,
    ...(etag === undefined ? {} : { etag }),
    ...(lastModified === undefined ? {} : { lastModified }),
  };
}

/** What Go's client gives: without the compression that was asked for on the way. */
async function* bodyOf(response: HttpResponse): AsyncGenerator<Uint8Array> {
  const encoded = response.header("content-encoding")?.trim().toLowerCase() === "gzip";
  const source = unstalledBytes(response.body);
  if (!encoded) return yield* source;
  const gunzip = createGunzip();
  const done = pipeline(source, gunzip);
  done.catch(() => undefined); // What is read fails with the same error.
  for await (const chunk of gunzip as AsyncIterable<Uint8Array>) yield chunk;
  await done;
}

/** A server that says nothing for so long will hardly talk at the next try. */
async function unstalled<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof StallError ? new Error(error.message, { cause: error }) : error;
  }
}

async function* unstalledBytes(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (error) {
    throw error instanceof StallError ? new Error(error.message, { cause: error }) : error;
  }
}

function loginHint({ url, authorization }: UrlRequests, status: number): string | undefined {
  if (status !== 401 && status !== 403) return undefined;
  return authorization === undefined
    ? `give a login with --secret id=HTTP_AUTH_TOKEN_${url.hostname} or id=HTTP_AUTH_HEADER_${url.hostname}`
    : "the server refuses the login that it was given";
}
