import { TsbuildError } from "../errors.js";
import { type Semaphore, createSemaphore } from "../internal/semaphore.js";
import { serializeConfig } from "../oci/config.js";
import { digestOf, type Digest } from "../oci/digest.js";
import { configMediaType, type SerializedBlob, serializeManifest } from "../oci/manifest.js";
import {
  familiarName,
  formatReference,
  formatRepository,
  type Reference,
} from "../oci/reference.js";
import type { Descriptor, Image, Layer } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import type { Emit } from "../solver/types.js";
import {
  type OutputImage,
  writeDockerArchive,
  writeOciLayout,
  writeTextFile,
} from "../store/index.js";
import type { Store } from "../store/types.js";
import type { BuildOptions, BuildResult } from "./options.js";

/** Uploads at once to one registry: enough to fill a line, few enough not to be throttled. */
const UPLOADS = 4;

export interface ExportInput {
  readonly options: BuildOptions;
  readonly destinations: readonly Reference[];
  readonly registry: Registry;
  readonly store: Store;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** An image as the bytes that are sent: serialised once, so that every output has the same digest. */
interface Serialized {
  readonly image: Image;
  readonly config: SerializedBlob;
  readonly manifest: SerializedBlob;
}

/** Pushes and writes the image everywhere; digest files come last, when nothing can fail any more. */
export async function exportImage(image: Image, input: ExportInput): Promise<BuildResult> {
  const { options, destinations } = input;
  const serialized = serialize(image);
  const written = await writeFiles(serialized, input);
  const push = options.push ?? true;
  const pushed: string[] = [];
  if (push) {
    for (const destination of destinations) {
      await pushImage(serialized, destination, input);
      pushed.push(formatReference(destination));
    }
  }
  const { descriptor } = serialized.manifest;
  const files = await writeDigests(descriptor.digest, input);
  return {
    image: descriptor,
    configDigest: serialized.config.descriptor.digest,
    pushed,
    written: [...written, ...files],
  };
}

function serialize(image: Image): Serialized {
  const configBytes = serializeConfig(image);
  const config: Descriptor = {
    mediaType: configMediaType(image.format),
    digest: digestOf(configBytes),
    size: configBytes.byteLength,
  };
  return {
    image,
    config: { descriptor: config, bytes: configBytes },
    manifest: serializeManifest(image, config),
  };
}

/** A layer's bytes: from the store, or from where the base came. */
function opener(
  layer: Layer,
  { store, registry, signal: whole }: ExportInput,
): (signal?: AbortSignal) => AsyncIterable<Uint8Array> {
  return async function* (signal = whole) {
    const { descriptor, origin } = layer;
    if ((await store.stat(descriptor.digest)) !== undefined) {
      yield* store.get(descriptor.digest, signal);
    } else if (origin !== undefined) {
      yield* registry.blob(origin, descriptor, { signal });
    } else {
      throw new TsbuildError("STORE_FAILED", `layer ${descriptor.digest} is gone from the store`);
    }
  };
}

async function pushImage(
  { image, config, manifest }: Serialized,
  destination: Reference,
  input: ExportInput,
): Promise<void> {
  const { registry, signal, emit } = input;
  const turns = createSemaphore(UPLOADS);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const unique = new Map(image.layers.map((layer) => [layer.descriptor.digest, layer]));
  const push = async (blob: Descriptor, source: PushSource, turn: Semaphore): Promise<void> => {
    using _turn = await turn.acquire(both);
    let bytes = 0;
    const onBytes = (more: number): void => {
      bytes += more;
      const id = `${formatRepository(destination)}@${blob.digest}`;
      emit({ type: "transfer", id, direction: "push", bytes, total: blob.size });
    };
    await registry.pushBlob(destination, blob, source, { signal: both, onBytes });
  };
  const uploads = [...unique.values()].map((layer) =>
    push(layer.descriptor, pushSource(layer, input), turns),
  );
  uploads.push(push(config.descriptor, { open: () => once(config.bytes) }, turns));
  try {
    await Promise.all(uploads);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(uploads);
    throw error;
  }
  const { descriptor, bytes } = manifest;
  await registry.pushManifest(destination, bytes, descriptor.mediaType, { signal });
}

type PushSource = Parameters<Registry["pushBlob"]>[2];

function pushSource(layer: Layer, input: ExportInput): PushSource {
  const open = opener(layer, input);
  return layer.origin === undefined ? { open } : { open, from: layer.origin };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

async function writeFiles(serialized: Serialized, input: ExportInput): Promise<readonly string[]> {
  const { options, destinations, signal } = input;
  const { image, config, manifest } = serialized;
  const output: OutputImage = {
    config,
    manifest,
    layers: image.layers.map((layer) => ({
      descriptor: layer.descriptor,
      open: opener(layer, input),
    })),
    platform: image.config.platform,
  };
  const written: string[] = [];
  if (options.ociLayoutPath !== undefined) {
    await writeOciLayout(options.ociLayoutPath, output, destinations, signal);
    written.push(options.ociLayoutPath);
  }
  if (options.tarPath !== undefined) {
    const repoTags = destinations.map((reference) => familiarName(reference));
    await writeDockerArchive(options.tarPath, output, repoTags, signal);
    written.push(options.tarPath);
  }
  return written;
}

async function writeDigests(digest: Digest, input: ExportInput): Promise<readonly string[]> {
  const { options, destinations } = input;
  const lines = (name: (reference: Reference) => string): string =>
    destinations.map((reference) => `${name(reference)}@${digest}\n`).join("");
  const tagged = (reference: Reference): string =>
    formatReference({ ...reference, tag: reference.tag ?? "latest" });
  const files: readonly (readonly [path: string | undefined, text: string])[] = [
    [options.digestFile, digest],
    [options.imageNameWithDigestFile, lines(formatRepository)],
    [options.imageNameTagWithDigestFile, lines(tagged)],
  ];
  const written: string[] = [];
  for (const [path, text] of files) {
    if (path === undefined) continue;
    await writeTextFile(path, text);
    written.push(path);
  }
  return written;
}
