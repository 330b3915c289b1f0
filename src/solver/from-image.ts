import { TsbuildError } from "../errors.js";
import { digestOf } from "../oci/digest.js";
import { parseConfig } from "../oci/config.js";
import { imageOf } from "../oci/image.js";
import { parseManifest } from "../oci/manifest.js";
import { parseReference, type Reference, withDefaultTag } from "../oci/reference.js";
import type { Descriptor, Image, Platform } from "../oci/types.js";
import type { KeptManifests, Registry } from "../registry/types.js";
import type { Store } from "../store/types.js";

/** Bytes; a config is a page of JSON, and one that is not must not fill the memory. */
const MAX_CONFIG = 8 * 1024 * 1024;
/** Bytes; what is named by a manifest's digest and is longer is no manifest. */
const MAX_MANIFEST = 16 * 1024 * 1024;

export interface FromImageInput {
  readonly registry: Registry;
  readonly store: Store;
  readonly signal: AbortSignal;
}

/** A base image's manifest and config, without its layers. @throws TsbuildError REGISTRY_UNAVAILABLE, REGISTRY_DENIED, DOCKERFILE_INVALID */
export async function fromImage(
  name: string,
  platform: Platform,
  input: FromImageInput,
): Promise<Image> {
  const reference = withDefaultTag(referenceOf(name));
  const call = { signal: input.signal, kept: keptManifests(input) };
  const { bytes, descriptor } = await input.registry.resolve(reference, platform, call);
  const manifest = parseManifest(bytes, descriptor.mediaType);
  const config = parseConfig(await configBytes(reference, manifest.config, input));
  return imageOf(manifest, config, reference);
}

/** What a Dockerfile names wrongly is its own fault, not the command line's. */
function referenceOf(name: string): Reference {
  try {
    return parseReference(name);
  } catch (error) {
    if (!(error instanceof TsbuildError) || error.code !== "USAGE") throw error;
    const { message, hint } = error;
    throw new TsbuildError("DOCKERFILE_INVALID", message, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/** A manifest's digest says all of it, so the store's is as good as the registry's. */
function keptManifests({ store, signal }: FromImageInput): KeptManifests {
  return {
    async get(digest) {
      const found = await store.stat(digest);
      if (found === undefined || found.size > MAX_MANIFEST) return undefined;
      // One that is damaged is deleted by being read.
      return collect(store.get(digest, signal)).catch((error: unknown) => {
        if (signal.aborted) throw error;
        return undefined;
      });
    },
    async put({ descriptor, bytes }) {
      if ((await store.stat(descriptor.digest)) !== undefined) return;
      await store.put(once(bytes), descriptor, signal);
    },
  };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of chunks) parts.push(part);
  return Buffer.concat(parts);
}

async function configBytes(
  reference: Reference,
  descriptor: Descriptor,
  { registry, store, signal }: FromImageInput,
): Promise<Uint8Array> {
  if (descriptor.size > MAX_CONFIG) {
    throw new TsbuildError(
      "REGISTRY_UNAVAILABLE",
      `the image's config has ${descriptor.size} bytes; at most ${MAX_CONFIG} are read`,
    );
  }
  if ((await store.stat(descriptor.digest)) === undefined) {
    await store.put(registry.blob(reference, descriptor, { signal }), descriptor, signal);
  }
  const bytes = await collect(store.get(descriptor.digest, signal));
  if (digestOf(bytes) !== descriptor.digest) {
    throw new TsbuildError("STORE_FAILED", `the config ${descriptor.digest} is damaged`);
  }
  return bytes;
}
