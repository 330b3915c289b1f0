import type { Digest } from "../oci/digest.js";
import type { SerializedBlob } from "../oci/manifest.js";
import { formatRepository, type Reference } from "../oci/reference.js";
import { RegistryError } from "../registry/index.js";
import type { Registry } from "../registry/types.js";
import { topOf, type Exported, type SerializedImage } from "./export-image.js";
import type { Repositories } from "./repositories.js";
import type { Uploads } from "./uploads.js";

export interface ImagePushInput {
  readonly registry: Registry;
  readonly uploads: Uploads;
  readonly repositories: Repositories;
  readonly signal: AbortSignal;
}

/** Pushes one image to any number of destinations, and to each no more than it lacks. */
export class ImagePush {
  readonly #exported: Exported;
  readonly #input: ImagePushInput;
  /** Repositories that have all of it, whatever their tags say. */
  readonly #complete = new Set<string>();

  constructor(exported: Exported, input: ImagePushInput) {
    this.#exported = exported;
    this.#input = input;
  }

  /**
   * Blobs first, then the manifests of an index, then what the destination names. A repository that was given nothing so
   * far may have the image already, by that very name or by its digest: then nothing is asked about its parts.
   */
  async to(destination: Reference): Promise<void> {
    const { uploads, repositories } = this.#input;
    const repository = formatRepository(destination);
    const top = topOf(this.#exported);
    if (!(await uploads.hasGiven(destination))) {
      const { digest } = top.descriptor;
      const named = await repositories.find(destination);
      if (named === digest || (await this.#rename(destination, named, top))) {
        this.#complete.add(repository);
        return;
      }
    }
    if (!this.#complete.has(repository)) await this.#parts(destination);
    await this.#name(destination, top);
    this.#complete.add(repository);
  }

  /** Gives the tag to an image that the repository has. */
  async #rename(
    destination: Reference,
    named: Digest | undefined,
    top: SerializedBlob,
  ): Promise<boolean> {
    if (destination.tag === undefined) return false;
    const { registry, repositories, signal } = this.#input;
    const isGiven = this.#complete.has(formatRepository(destination));
    if (!isGiven && named === undefined && (await repositories.isNew(destination))) return false;
    const { digest } = top.descriptor;
    const isThere =
      isGiven || (await registry.find(byDigest(destination, top), { signal })) === digest;
    if (!isThere) return false;
    try {
      await this.#name(destination, top);
      return true;
    } catch (error) {
      // It has lost a part of it: everything is looked at then.
      const status = error instanceof RegistryError ? error.status : undefined;
      if (status !== 400 && status !== 404) throw error;
      return false;
    }
  }

  async #parts(destination: Reference): Promise<void> {
    const { images } = this.#exported;
    const parts = images.map((image) => this.#part(image, destination));
    // Nothing goes on behind the back of whoever hears of a failure.
    await Promise.allSettled(parts);
    await Promise.all(parts);
  }

  async #part(image: SerializedImage, destination: Reference): Promise<void> {
    await this.#blobs(image, destination);
    if (this.#exported.index === undefined) return;
    const { registry, signal } = this.#input;
    const { bytes, descriptor } = image.manifest;
    const reference = byDigest(destination, image.manifest);
    await registry.pushManifest(reference, bytes, descriptor.mediaType, { signal });
  }

  async #blobs({ image, config }: SerializedImage, destination: Reference): Promise<void> {
    const { uploads } = this.#input;
    const ofConfig = { open: () => once(config.bytes), isNew: true };
    // The configuration first: it takes two round trips, and many a layer one.
    await Promise.all([
      uploads.blob(config.descriptor, ofConfig, destination),
      ...image.layers.map((layer) => uploads.layer(layer, destination)),
    ]);
  }

  async #name(destination: Reference, { bytes, descriptor }: SerializedBlob): Promise<void> {
    const { registry, signal } = this.#input;
    await registry.pushManifest(destination, bytes, descriptor.mediaType, { signal });
  }
}

function byDigest(
  { registry, repository }: Reference,
  { descriptor: { digest } }: SerializedBlob,
): Reference {
  return { registry, repository, digest };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
