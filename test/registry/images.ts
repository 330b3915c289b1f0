import { randomBytes } from "node:crypto";
import { digestOf } from "../../src/oci/digest.js";
import {
  DOCKER_INDEX,
  DOCKER_MANIFEST,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_LAYER,
  OCI_MANIFEST,
} from "../../src/oci/media-types.js";
import { parseReference, type Reference } from "../../src/oci/reference.js";
import type { Descriptor, Platform } from "../../src/oci/types.js";
import { createRegistry } from "../../src/registry/index.js";
import type { Call, Keychain, Registry, RegistryOptions } from "../../src/registry/types.js";

/** Bytes that do not compress, and their descriptor. */
export function randomBlob(size: number): { readonly bytes: Buffer; readonly blob: Descriptor } {
  const bytes = randomBytes(size);
  return { bytes, blob: { mediaType: `${OCI_LAYER}+gzip`, digest: digestOf(bytes), size } };
}

/** In chunks, as the store reads files. */
export function sourceOf(bytes: Uint8Array, chunk = 64 * 1024): () => AsyncIterable<Uint8Array> {
  return async function* () {
    for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
  };
}

export function manifestOf(
  config: Descriptor,
  layers: readonly Descriptor[],
  mediaType: string = OCI_MANIFEST,
): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
}

export function configBlob(platform: Platform): {
  readonly bytes: Buffer;
  readonly blob: Descriptor;
} {
  const bytes = Buffer.from(
    JSON.stringify({ ...platform, rootfs: { type: "layers", diff_ids: [] } }),
  );
  return { bytes, blob: { mediaType: OCI_CONFIG, digest: digestOf(bytes), size: bytes.length } };
}

export function indexOf(
  entries: readonly { readonly bytes: Uint8Array; readonly platform?: Platform }[],
  mediaType: string = OCI_INDEX,
): Buffer {
  const entryType = mediaType === DOCKER_INDEX ? DOCKER_MANIFEST : OCI_MANIFEST;
  const manifests = entries.map(({ bytes, platform }) => ({
    mediaType: entryType,
    digest: digestOf(bytes),
    size: bytes.length,
    ...(platform === undefined ? {} : { platform }),
  }));
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
}

export function call(signal: AbortSignal = new AbortController().signal): Call {
  return { signal };
}

export function at(registry: string, rest: string): Reference {
  return parseReference(`${registry}/${rest}`);
}

export const anonymous: Keychain = async () => undefined;

export function basic(username: string, password: string, source = "the test"): Keychain {
  return async () => ({ secret: { kind: "basic", username, password }, source });
}

/** Quick retries and defaults for everything that a test does not care about. */
export function client(options: Partial<RegistryOptions> = {}): Registry {
  return createRegistry({
    insecureRegistries: new Set(),
    insecurePush: false,
    insecurePull: false,
    skipTlsVerify: false,
    skipTlsVerifyRegistries: new Set(),
    registryMap: new Map(),
    userAgent: "tsbuild/test",
    keychain: anonymous,
    http: {},
    retry: { firstDelayMs: 5, maxDelayMs: 20 },
    ...options,
  });
}

export async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}
