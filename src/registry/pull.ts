import { TsbuildError } from "../errors.js";
import { type ContentHash, HASHING_IN_PLACE } from "../internal/hashing.js";
import type { HttpResponse } from "../internal/http.js";
import {
  isTransient,
  nextDelay,
  pause,
  type RetryPolicy,
  TransientError,
} from "../internal/retry.js";
import { digestFromHex } from "../oci/digest.js";
import { familiarName, formatRepository, type Reference } from "../oci/reference.js";
import type { Endpoint } from "./endpoint.js";
import { readFaults, RegistryError } from "./errors.js";
import { ACCEPT_MANIFESTS, MAX_MANIFEST, readManifest } from "./manifest.js";
import type { RegistryRequest, Transport } from "./transport.js";
import type { BlobCall, Call, ForeignDescriptor, Manifest } from "./types.js";

/** A mirror gets fewer tries: there is another place to ask. */
export function mirrorPolicy(policy: RetryPolicy): RetryPolicy {
  return { ...policy, attempts: Math.min(2, policy.attempts) };
}

/** One manifest or index, from one endpoint. */
export async function pullManifest(
  transport: Transport,
  endpoint: Endpoint,
  reference: Reference,
  policy: RetryPolicy,
  call: Call,
): Promise<Manifest> {
  const name = reference.digest ?? reference.tag ?? "latest";
  const request: RegistryRequest = {
    what: `pull ${nameAt(endpoint, reference)}`,
    endpoint,
    method: "GET",
    target: `manifests/${name}`,
    scopes: [{ repository: endpoint.repository, actions: ["pull"] }],
    headers: { accept: ACCEPT_MANIFESTS, "accept-encoding": "identity" },
    accept: [404],
    signal: call.signal,
  };
  for (let failures = 0; ;) {
    const response = await transport.send(request, policy);
    if (response.status === 404) throw await notFound(request, response, reference);
    try {
      const bytes = await response.bytes(MAX_MANIFEST);
      call.onBytes?.(bytes.length);
      const type = response.header("content-type");
      return readManifest(reference, bytes, type, response.header("docker-content-digest"));
    } catch (error) {
      const delay = nextDelay(policy, ++failures, error);
      if (delay === undefined || call.signal.aborted) throw await transport.explain(request, error);
      await pause(delay, call.signal);
    }
  }
}

function nameAt(endpoint: Endpoint, reference: Reference): string {
  const name = familiarName(reference);
  return endpoint.registry === reference.registry ? name : `${name} from ${endpoint.registry}`;
}

async function notFound(
  request: RegistryRequest,
  response: HttpResponse,
  reference: Reference,
): Promise<RegistryError> {
  const faults = await readFaults(response);
  const repository = formatRepository(reference);
  const missing =
    reference.digest === undefined
      ? `${repository} has no tag "${reference.tag ?? "latest"}"`
      : `${repository} has no manifest ${reference.digest}`;
  return new RegistryError("REGISTRY_UNAVAILABLE", `tried to ${request.what}: ${missing} (404)`, {
    status: 404,
    faults,
    hint: "check the spelling; the repository may also be private, or not exist",
  });
}

interface Progress {
  offset: number;
  readonly hash: ContentHash;
}

/** The bytes did not come whole; asking again for the rest may help. */
const brokenOff = (message: string): TransientError => new TransientError(message);

/**
 * A blob from the first endpoint that has it. Where a connection breaks, or an endpoint fails for good, the rest is
 * asked for from where it stopped.
 */
export async function* pullBlob(
  transport: Transport,
  endpoints: readonly [Endpoint, ...Endpoint[]],
  reference: Reference,
  blob: ForeignDescriptor,
  call: BlobCall,
): AsyncGenerator<Uint8Array> {
  using hash = (call.hashing ?? HASHING_IN_PLACE).sha256(blob.size);
  const progress: Progress = { offset: 0, hash };
  const what = `pull ${blob.digest} of ${formatRepository(reference)}`;
  const places = [
    ...endpoints.map((endpoint) => ({ endpoint, target: `blobs/${blob.digest}` })),
    ...foreignUrls(blob).flatMap((text) => {
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (url === undefined || !/^https?:$/.test(url.protocol)) return [];
      return [{ endpoint: endpoints[0], target: url }];
    }),
  ];
  for (const [index, { endpoint, target }] of places.entries()) {
    const isLast = index === places.length - 1;
    const policy = isLast ? transport.policy : mirrorPolicy(transport.policy);
    const request: RegistryRequest = {
      what,
      endpoint,
      method: "GET",
      target,
      scopes: [{ repository: endpoint.repository, actions: ["pull"] }],
      signal: call.signal,
    };
    try {
      yield* readBlob(transport, request, policy, blob, progress, call);
      verify(what, blob, progress.hash);
      return;
    } catch (error) {
      call.signal.throwIfAborted();
      if (isLast || error instanceof CorruptBlobError) throw error;
    }
  }
}

/** What came is not what was asked; another place cannot mend what was already handed on. */
class CorruptBlobError extends TsbuildError {}

async function* readBlob(
  transport: Transport,
  request: RegistryRequest,
  policy: RetryPolicy,
  blob: ForeignDescriptor,
  progress: Progress,
  call: Call,
): AsyncGenerator<Uint8Array> {
  for (let failures = 0; ;) {
    const start = progress.offset;
    const range: Record<string, string> = start === 0 ? {} : { range: `bytes=${start}-` };
    const headers = { "accept-encoding": "identity", ...range };
    const response = await transport.send({ ...request, headers }, policy);
    try {
      yield* readFrom(response, blob, progress, request, call);
      if (progress.offset === blob.size) return;
      throw brokenOff(`the connection ended after ${progress.offset} of ${blob.size} bytes`);
    } catch (error) {
      call.signal.throwIfAborted();
      if (!isTransient(error)) throw await transport.explain(request, error);
      failures = progress.offset > start ? 1 : failures + 1;
      const delay = nextDelay(policy, failures, error);
      if (delay === undefined) throw await transport.explain(request, error);
      await pause(delay, call.signal);
    }
  }
}

/** Hands on what continues at `progress.offset`, whether or not the server understood the range. */
async function* readFrom(
  response: HttpResponse,
  blob: ForeignDescriptor,
  progress: Progress,
  request: RegistryRequest,
  call: Call,
): AsyncGenerator<Uint8Array> {
  let position: number;
  try {
    position = firstByte(response, progress.offset);
  } catch (error) {
    await response.discard();
    throw error;
  }
  const announced = Number(response.header("content-length") ?? Number.NaN);
  if (!Number.isNaN(announced) && position + announced > blob.size) {
    await response.discard();
    throw tooLong(request, blob, position + announced);
  }
  for await (const received of response.body) {
    call.onBytes?.(received.length);
    const skipped = Math.max(0, Math.min(received.length, progress.offset - position));
    position += received.length;
    const chunk = skipped === 0 ? received : received.subarray(skipped);
    if (chunk.length === 0) continue;
    if (progress.offset + chunk.length > blob.size) {
      throw tooLong(request, blob, progress.offset + chunk.length);
    }
    progress.offset += chunk.length;
    progress.hash.update(chunk);
    yield chunk;
  }
}

function tooLong(request: RegistryRequest, blob: ForeignDescriptor, size: number): TsbuildError {
  return new CorruptBlobError(
    "REGISTRY_UNAVAILABLE",
    `tried to ${request.what}: the registry sends ${size} bytes or more, expected ${blob.size}`,
  );
}

function firstByte(response: HttpResponse, wanted: number): number {
  if (response.status !== 206) return 0;
  const start = /^bytes (\d+)-/.exec(response.header("content-range") ?? "")?.[1];
  const first = start === undefined ? wanted : Number(start);
  // A range that begins later would leave a hole.
  if (first > wanted) throw brokenOff(`the answer begins at byte ${first} instead of ${wanted}`);
  return first;
}

function verify(what: string, blob: ForeignDescriptor, hash: ContentHash): void {
  const digest = digestFromHex(hash.digest());
  if (digest === blob.digest) return;
  throw new CorruptBlobError(
    "REGISTRY_UNAVAILABLE",
    `tried to ${what}: the bytes are corrupt: their digest is ${digest}`,
    { hint: "the registry, or a proxy on the way, holds a damaged copy" },
  );
}

/** As the caller says, or as the manifest had them: a field of the descriptor that nothing else knows. */
function foreignUrls({ urls, other }: ForeignDescriptor): readonly string[] {
  const kept = urls ?? other?.["urls"];
  return Array.isArray(kept) ? kept.filter((url): url is string => typeof url === "string") : [];
}
