import { TsbuildError } from "../errors.js";
import type { HttpResponse } from "../internal/http.js";
import { retry, type RetryPolicy } from "../internal/retry.js";
import { type Digest, digestOf } from "../oci/digest.js";
import { familiarName, formatRepository, type Reference } from "../oci/reference.js";
import type { Descriptor } from "../oci/types.js";
import type { Scope } from "./challenge.js";
import type { Endpoint } from "./endpoint.js";
import { RegistryError } from "./errors.js";
import type { RegistryRequest, Transport } from "./transport.js";
import type { BlobSource, Call } from "./types.js";

/** The DELETE after a check is a courtesy: it is given this long. */
const CANCEL_MS = 5_000;

/** What pushing to a repository needs. */
export function pushScope({ repository }: Endpoint): Scope {
  return { repository, actions: ["pull", "push"] };
}

/** Which repositories may not be mounted from, by where to and where from. */
export type RefusedMounts = Set<string>;

/** HEAD, mount, upload; all of it again when a connection breaks, since nobody knows then what the registry has. */
export async function pushBlob(
  transport: Transport,
  endpoint: Endpoint,
  blob: Descriptor,
  source: BlobSource,
  call: Call,
  refused: RefusedMounts = new Set(),
): Promise<"exists" | "mounted" | "uploaded"> {
  const common = {
    what: `push ${blob.digest} to ${endpoint.registry}/${endpoint.repository}`,
    endpoint,
    scopes: [pushScope(endpoint)],
    signal: call.signal,
  };
  const from = mountSource(endpoint, source, refused);
  let hasSent = false;
  const onSent = (bytes: number): void => {
    hasSent = true;
    call.onBytes?.(bytes);
  };
  const work = async (attempt: number): Promise<"exists" | "mounted" | "uploaded"> => {
    const isAsked = attempt > 1 || source.isNew !== true;
    if (isAsked && (await hasBlob(transport, common, blob))) {
      return hasSent ? "uploaded" : "exists";
    }
    const mount =
      from === undefined ? undefined : await tryMount(transport, common, blob, from, refused);
    if (mount?.status === 201) return "mounted";
    const upload = mount ?? (await startUpload(transport, common));
    await finishUpload(transport, { ...common, onSent }, upload, blob, source);
    return "uploaded";
  };
  try {
    return await retry(transport.policy, call.signal, work);
  } catch (error) {
    throw await transport.explain({ ...common, method: "PUT", target: "" }, error);
  }
}

type Common = Pick<RegistryRequest, "what" | "endpoint" | "scopes" | "signal">;

function mountSource(
  endpoint: Endpoint,
  { from }: BlobSource,
  refused: RefusedMounts,
): string | undefined {
  if (from === undefined || from.registry !== endpoint.registry) return undefined;
  if (from.repository === endpoint.repository) return undefined;
  return refused.has(mountName(endpoint, from.repository)) ? undefined : from.repository;
}

function mountName({ host, repository }: Endpoint, from: string): string {
  return `${host}/${repository} ${from}`;
}

async function hasBlob(transport: Transport, common: Common, blob: Descriptor): Promise<boolean> {
  const response = await transport.attempt({
    ...common,
    method: "HEAD",
    target: `blobs/${blob.digest}`,
    accept: [404],
  });
  await response.discard();
  return response.status === 200;
}

/**
 * One token that may pull there and push here. An answer of 202 is an upload that has begun; `undefined` means that
 * the registry, or its token server, wants to hear nothing of mounts.
 */
async function tryMount(
  transport: Transport,
  common: Common,
  blob: Descriptor,
  from: string,
  refused: RefusedMounts,
): Promise<HttpResponse | undefined> {
  const query = `mount=${encodeURIComponent(blob.digest)}&from=${encodeURIComponent(from)}`;
  try {
    const response = await transport.attempt({
      ...common,
      method: "POST",
      target: `blobs/uploads/?${query}`,
      scopes: [...common.scopes, { repository: from, actions: ["pull"] }],
    });
    await response.discard();
    return response.status === 201 || response.status === 202 ? response : undefined;
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status === undefined) throw error;
    // Who is refused for one blob is for the next one; 404 is of that blob alone.
    if (error.status !== 404) refused.add(mountName(common.endpoint, from));
    return undefined;
  }
}

async function startUpload(transport: Transport, common: Common): Promise<HttpResponse> {
  const response = await transport.attempt({ ...common, method: "POST", target: "blobs/uploads/" });
  await response.discard();
  return response;
}

async function finishUpload(
  transport: Transport,
  common: Common & Pick<RegistryRequest, "onSent">,
  upload: HttpResponse,
  blob: Descriptor,
  source: BlobSource,
): Promise<void> {
  const url = transport.location(upload);
  if (url === undefined) {
    throw new RegistryError(
      "REGISTRY_UNAVAILABLE",
      `tried to ${common.what}: the registry did not say where to upload (${upload.status})`,
      { status: upload.status },
    );
  }
  // Appended by hand: what the registry put into its query must come back as it was.
  const digest = `digest=${encodeURIComponent(blob.digest)}`;
  url.search = url.search === "" ? digest : `${url.search}&${digest}`;
  const response = await transport.attempt({
    ...common,
    method: "PUT",
    target: url,
    headers: { "content-type": "application/octet-stream" },
    body: { size: blob.size, open: source.open },
  });
  await response.discard();
  checkDigest(common.what, blob.digest, response);
}

/** PUT; the registry's digest must be ours. */
export async function pushManifest(
  transport: Transport,
  endpoint: Endpoint,
  reference: Reference,
  bytes: Uint8Array,
  mediaType: string,
  call: Call,
): Promise<Digest> {
  const digest = digestOf(bytes);
  if (reference.digest !== undefined && reference.digest !== digest) {
    throw new TsbuildError(
      "INTERNAL",
      `tried to push ${digest} to ${familiarName(reference)}, which names another digest`,
    );
  }
  const what = `push the manifest of ${familiarName(reference)}`;
  const response = await transport.send({
    what,
    endpoint,
    method: "PUT",
    target: `manifests/${reference.tag ?? digest}`,
    scopes: [pushScope(endpoint)],
    headers: { "content-type": mediaType },
    body: bytes,
    signal: call.signal,
  });
  await response.discard();
  checkDigest(what, digest, response);
  call.onBytes?.(bytes.length);
  return digest;
}

function checkDigest(what: string, digest: Digest, response: HttpResponse): void {
  const stored = response.header("docker-content-digest");
  if (stored === undefined || !stored.startsWith("sha256:") || stored === digest) return;
  throw new RegistryError(
    "REGISTRY_UNAVAILABLE",
    `tried to ${what}: the registry stored ${stored.slice(0, 100)} instead of ${digest}`,
    { status: response.status },
  );
}

/** Starts an upload and cancels it. */
export async function checkPush(
  transport: Transport,
  endpoint: Endpoint,
  reference: Reference,
  call: Call,
  policy: RetryPolicy = transport.policy,
): Promise<void> {
  const request: RegistryRequest = {
    what: `check the right to push to ${formatRepository(reference)}`,
    endpoint,
    method: "POST",
    target: "blobs/uploads/",
    scopes: [pushScope(endpoint)],
    signal: call.signal,
  };
  const response = await transport.send(request, policy);
  await response.discard();
  const url = transport.location(response);
  if (url === undefined) return;
  const signal = AbortSignal.any([call.signal, AbortSignal.timeout(CANCEL_MS)]);
  try {
    const cancelled = await transport.attempt({
      ...request,
      method: "DELETE",
      target: url,
      signal,
    });
    await cancelled.discard();
  } catch {
    // The registry clears away uploads that were not finished; some cannot cancel them at all.
    call.signal.throwIfAborted();
  }
}
