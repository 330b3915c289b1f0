import { type Digest, parseDigest } from "../oci/digest.js";
import { familiarName, type Reference } from "../oci/reference.js";
import type { Endpoint } from "./endpoint.js";
import { isUnknownRepository, RegistryError } from "./errors.js";
import { ACCEPT_MANIFESTS } from "./manifest.js";
import { mirrorPolicy } from "./pull.js";
import { pushScope } from "./push.js";
import type { Transport } from "./transport.js";
import type { Descriptor } from "../oci/types.js";
import type { Call, ManifestCall } from "./types.js";

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/**
 * HEAD of a manifest. It asks for the right to push as well, since that is what follows: one token serves for both. A
 * refusal is no answer: who may not read may still write.
 */
export async function findManifest(
  transport: Transport,
  endpoint: Endpoint,
  reference: Reference,
  call: Call,
): Promise<Digest | undefined> {
  const name = reference.tag ?? reference.digest ?? "latest";
  try {
    const response = await transport.send({
      what: `look for ${familiarName(reference)}`,
      endpoint,
      method: "HEAD",
      target: `manifests/${name}`,
      scopes: [pushScope(endpoint)],
      headers: { accept: ACCEPT_MANIFESTS },
      accept: [404],
      signal: call.signal,
    });
    await response.discard();
    if (response.status !== 200) return undefined;
    const stored = response.header("docker-content-digest");
    if (stored !== undefined && DIGEST.test(stored)) return parseDigest(stored);
    return reference.tag === undefined ? reference.digest : undefined;
  } catch (error) {
    call.signal.throwIfAborted();
    if (error instanceof RegistryError && error.status !== undefined) return undefined;
    throw error;
  }
}

/**
 * One tag of the repository is asked for. Registries answer what concerns a single manifest or blob alike, whether there is
 * no such thing or no such repository; here they tell. What else they say is no answer, and counts as yes.
 */
export async function findRepository(
  transport: Transport,
  endpoint: Endpoint,
  { signal, isOptional }: ManifestCall,
): Promise<boolean> {
  const { policy } = transport;
  try {
    const response = await transport.send(
      {
        what: `look for ${endpoint.registry}/${endpoint.repository}`,
        endpoint,
        method: "GET",
        target: "tags/list?n=1",
        scopes: [pushScope(endpoint)],
        signal,
      },
      isOptional === true ? mirrorPolicy(policy) : policy,
    );
    await response.discard();
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof RegistryError && error.status !== undefined) {
      return !isUnknownRepository(error);
    }
    throw error;
  }
}

/** HEAD of a blob where it is pulled from. A registry that does not say is believed to have it. */
export async function findBlob(
  transport: Transport,
  endpoint: Endpoint,
  blob: Descriptor,
  { signal }: Call,
): Promise<boolean> {
  try {
    const response = await transport.send(
      {
        what: `look for ${blob.digest} of ${endpoint.registry}/${endpoint.repository}`,
        endpoint,
        method: "HEAD",
        target: `blobs/${blob.digest}`,
        scopes: [{ repository: endpoint.repository, actions: ["pull"] }],
        headers: { "accept-encoding": "identity" },
        accept: [404],
        signal,
      },
      mirrorPolicy(transport.policy),
    );
    await response.discard();
    const length = Number(response.header("content-length") ?? 0);
    // Some say 0 of every blob.
    return response.status !== 404 && (length === 0 || length === blob.size);
  } catch {
    signal.throwIfAborted();
    return true;
  }
}
