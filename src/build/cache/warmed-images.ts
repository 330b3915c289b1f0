import { stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf } from "../../errors.js";
import type { Digest } from "../../oci/digest.js";
import { parseManifest } from "../../oci/manifest.js";
import { hostPlatform } from "../../oci/platform.js";
import type { KeptManifests, Manifest, Registry } from "../../registry/types.js";
import type { Emit } from "../../solver/types.js";
import { openOciLayout, type OciLayout } from "../../store/index.js";

export interface WarmedInput {
  /** Has an OCI layout for each image, named by its manifest's digest. Nothing is ever written there. */
  readonly directory: string;
  /** Milliseconds: what was laid there longer ago is not used. */
  readonly ttl: number;
  readonly emit: Emit;
}

interface Warmed {
  readonly layout: OciLayout;
  readonly manifest: Uint8Array;
}

/**
 * The registry, but for images that Kaniko's warmer has laid ready: their manifests, configurations and layers are read from
 * there. Which image a tag means the registry says all the same.
 */
export function withWarmedImages(registry: Registry, input: WarmedInput): Registry {
  const images = new Map<Digest, Promise<Warmed | undefined>>();
  const blobs = new Map<Digest, OciLayout>();
  const find = (digest: Digest, signal: AbortSignal): Promise<Warmed | undefined> => {
    const known = images.get(digest) ?? openWarmed(digest, input, blobs, signal);
    images.set(digest, known);
    return known;
  };
  const keptBeside = (kept: KeptManifests | undefined, signal: AbortSignal): KeptManifests => ({
    get: async (digest) => (await find(digest, signal))?.manifest ?? kept?.get(digest),
    put: async (manifest) => kept?.put(manifest),
  });
  const found = async (manifest: Manifest, signal: AbortSignal): Promise<Manifest> => {
    await find(manifest.descriptor.digest, signal);
    return manifest;
  };
  return {
    manifest: async (reference, call) => {
      const kept = keptBeside(call.kept, call.signal);
      return found(await registry.manifest(reference, { ...call, kept }), call.signal);
    },
    resolve: async (reference, platform, call) => {
      const kept = keptBeside(call.kept, call.signal);
      return found(await registry.resolve(reference, platform, { ...call, kept }), call.signal);
    },
    blob: (reference, blob, call) => {
      const layout = blobs.get(blob.digest);
      return layout?.open(blob, call.signal) ?? registry.blob(reference, blob, call);
    },
    hasBlob: async (reference, blob, call) =>
      blobs.has(blob.digest) || registry.hasBlob(reference, blob, call),
    find: (...args) => registry.find(...args),
    hasRepository: (...args) => registry.hasRepository(...args),
    pushBlob: (...args) => registry.pushBlob(...args),
    pushManifest: (...args) => registry.pushManifest(...args),
    checkPush: (...args) => registry.checkPush(...args),
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  };
}

/** What cannot be used is said, and pulled as ever. */
async function openWarmed(
  digest: Digest,
  { directory, ttl, emit }: WarmedInput,
  blobs: Map<Digest, OciLayout>,
  signal: AbortSignal,
): Promise<Warmed | undefined> {
  const path = join(directory, digest);
  const say = (why: string): undefined => {
    emit({ type: "notice", message: `the image ${path} is not used: ${why}` });
  };
  try {
    const entry = await stat(path);
    if (entry.mtimeMs + ttl < Date.now()) return undefined;
    if (!entry.isDirectory()) return say("it is no OCI layout; let the warmer write one");
    const layout = await openOciLayout(path, signal);
    const { bytes, descriptor } = await layout.resolve(digest, hostPlatform(), signal);
    const { config, layers } = parseManifest(bytes, descriptor.mediaType);
    const present = await presentBlobs(path, [config, ...layers]);
    for (const blob of present) blobs.set(blob, layout);
    return { layout, manifest: bytes };
  } catch (error) {
    signal.throwIfAborted();
    return errnoOf(error) === "ENOENT" ? undefined : say(messageOf(error));
  }
}

/** Those that are there in full length: what else is wrong with them shows when they are read. */
async function presentBlobs(
  path: string,
  blobs: readonly { readonly digest: Digest; readonly size: number }[],
): Promise<readonly Digest[]> {
  const present: Digest[] = [];
  for (const { digest, size } of blobs) {
    const file = join(path, "blobs", ...digest.split(":"));
    const found = await stat(file).catch(() => undefined);
    if (found?.size === size) present.push(digest);
  }
  return present;
}
