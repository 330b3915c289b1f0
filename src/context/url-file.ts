import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { posix } from "node:path";
import { TsbuildError, errnoOf, messageOf } from "../errors.js";
import type { HttpClient } from "../internal/http.js";
import { redactUrl } from "../internal/redact.js";
import { type Digest, digestFromHex, parseDigest } from "../oci/digest.js";
import type { UrlFile } from "./types.js";

/** What `ADD` of a URL without a last path element is called. */
const UNNAMED = "__unnamed__";

export interface UrlFileOptions {
  readonly client: HttpClient;
  /** A new file. */
  readonly path: string;
  /** `--checksum`: what the content must hash to. */
  readonly checksum?: string;
  readonly signal: AbortSignal;
}

/** The name that a URL gives its file: the query is not part of it. */
export function urlFileName(url: URL): string {
  const base = posix.basename(decodeURI(url.pathname));
  return base === "" || base === "." || base === "/" ? UNNAMED : base;
}

/**
 * Fetches the file that an `ADD` names. Redirects are followed; credentials in the URL go to no other host.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function fetchUrlFile(text: string, options: UrlFileOptions): Promise<UrlFile> {
  const expected = options.checksum === undefined ? undefined : parseChecksum(options.checksum);
  const shown = redactUrl(text);
  try {
    const url = new URL(text);
    const headers = authorization(url);
    const response = await options.client.request(url, {
      method: "GET",
      headers,
      signal: options.signal,
    });
    if (response.status !== 200) {
      await response.discard();
      throw failure(shown, `invalid response status ${response.status}`);
    }
    const written = await write(response.body, options);
    if (expected !== undefined && expected !== written.digest) {
      throw failure(shown, `digest mismatch ${written.digest}: ${expected} was expected`);
    }
    const modified = Date.parse(response.header("last-modified") ?? "");
    const mtimeNs = Number.isNaN(modified) ? 0n : BigInt(modified) * 1_000_000n;
    return { ...written, path: options.path, name: urlFileName(url), mtimeNs };
  } catch (error) {
    if (error instanceof TsbuildError || options.signal.aborted) throw error;
    throw failure(
      shown,
      errnoOf(error) === "ENOSPC" ? "the disk is full" : messageOf(error),
      error,
    );
  }
}

/** User and password of the URL as a header, which a redirect to another host loses. */
function authorization(url: URL): Record<string, string> {
  if (url.username === "") return {};
  const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = "";
  url.password = "";
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

async function write(
  body: AsyncIterable<Uint8Array>,
  { path, signal }: UrlFileOptions,
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

/** @throws TsbuildError DOCKERFILE_INVALID */
function parseChecksum(text: string): Digest {
  const algorithm = text.slice(0, text.indexOf(":"));
  if (algorithm !== "sha256") {
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `unsupported digest algorithm in --checksum=${text}`,
      {
        hint: "expected sha256: and 64 hexadecimal digits",
      },
    );
  }
  return parseDigest(text);
}

function failure(shown: string, why: string, cause?: unknown): TsbuildError {
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${shown}: ${why}`, { cause });
}
