import { TsbuildError } from "../errors.js";
import { type Semaphore, createSemaphore } from "../internal/semaphore.js";
import type { Digest } from "../oci/digest.js";
import { serializeImage } from "../oci/image.js";
import { type SerializedBlob, serializeIndex } from "../oci/manifest.js";
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
/** One image, or images of several platforms and the index that names them. */
interface Result {
  readonly images: readonly Serialized[];
  readonly index?: SerializedBlob;
}

/** Pushes and writes the image everywhere; digest files come last, when nothing can fail any more. */
export async function exportImages(
  images: readonly Image[],
  input: ExportInput,
): Promise<BuildResult> {
  const { options, destinations } = input;
  const result = serializeAll(images, options);
  const written = await writeFiles(result, input);
  const pushed: string[] = [];
  for (const destination of options.push === false ? [] : destinations) {
    await push(result, destination, input);
    pushed.push(formatReference(destination));
  }
  const [first] = result.images;
  const { descriptor } = topOf(result);
  const files = await writeDigests(descriptor.digest, input);
  return {
    image: descriptor,
    configDigest: first?.config.descriptor.digest ?? descriptor.digest,
    pushed,
    written: [...written, ...files],
  };
}

function serializeAll(images: readonly Image[], { buildArgs }: BuildOptions): Result {
  const serialized = images.map((image) => ({ image, ...serializeImage(image) }));
  const asked = buildArgs?.["BUILDKIT_MULTI_PLATFORM"];
  const multi = asked === undefined ? images.length > 1 : asked === "1" || asked === "true";
  const [first] = images;
  if ((!multi && images.length === 1) || first === undefined) return { images: serialized };
  const entries = serialized.map(({ manifest, image }) => ({
    ...manifest.descriptor,
    platform: image.config.platform,
  }));
  return { images: serialized, index: serializeIndex(first.format, entries) };
}

/** What the destination's tag names. */
function topOf({ images, index }: Result): SerializedBlob {
  const top = index ?? images[0]?.manifest;
  if (top === undefined) throw new TsbuildError("INTERNAL", "nothing was built");
  return top;
}

async function push(result: Result, destination: Reference, input: ExportInput): Promise<void> {
  const { registry, signal } = input;
  const { index, images } = result;
  for (const image of images) {
    await pushBlobs(image, destination, input);
    if (index === undefined) continue;
    const { registry: host, repository } = destination;
    const { bytes, descriptor } = image.manifest;
    const byDigest = { registry: host, repository, digest: descriptor.digest };
    await registry.pushManifest(byDigest, bytes, descriptor.mediaType, { signal });
  }
  const { bytes, descriptor } = topOf(result);
  await registry.pushManifest(destination, bytes, descriptor.mediaType, { signal });
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

async function pushBlobs(
  { image, config }: Serialized,
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
}

type PushSource = Parameters<Registry["pushBlob"]>[2];

function pushSource(layer: Layer, input: ExportInput): PushSource {
  const open = opener(layer, input);
  return layer.origin === undefined ? { open } : { open, from: layer.origin };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

async function writeFiles(result: Result, input: ExportInput): Promise<readonly string[]> {
  const { options, destinations, signal } = input;
  const images = result.images.map((one) => outputOf(one, input));
  const [first] = images;
  const written: string[] = [];
  if (options.ociLayoutPath !== undefined && first !== undefined) {
    const output = result.index === undefined ? first : { manifest: result.index, images };
    await writeOciLayout(options.ociLayoutPath, output, destinations, signal);
    written.push(options.ociLayoutPath);
  }
  if (options.tarPath !== undefined && first !== undefined) {
    if (result.index !== undefined) {
      throw new TsbuildError("USAGE", "a docker archive holds one image, not an index", {
        hint: "build one platform, or write --oci-layout-path",
      });
    }
    const repoTags = destinations.map((reference) => familiarName(reference));
    await writeDockerArchive(options.tarPath, first, repoTags, signal);
    written.push(options.tarPath);
  }
  return written;
}

function outputOf({ image, config, manifest }: Serialized, input: ExportInput): OutputImage {
  return {
    config,
    manifest,
    layers: image.layers.map((layer) => ({
      descriptor: layer.descriptor,
      open: opener(layer, input),
    })),
    platform: image.config.platform,
  };
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
