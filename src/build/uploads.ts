import { createSemaphore, type Semaphore } from "../internal/semaphore.js";
import type { Digest } from "../oci/digest.js";
import { formatRepository, type Reference } from "../oci/reference.js";
import type { Descriptor, Layer } from "../oci/types.js";
import type { BlobSource, Registry } from "../registry/types.js";
import { layerOpener, type PushInput } from "./export-input.js";
import type { Repositories } from "./repositories.js";

/** Uploads at once, to all registries: enough to fill a line, few enough not to be throttled. */
const UPLOADS = 4;

type Outcome = Awaited<ReturnType<Registry["pushBlob"]>>;

export interface UploadsInput extends PushInput {
  readonly repositories: Repositories;
}

/** A blob that is, or soon will be, in one of a registry's repositories. */
interface Place {
  readonly repository: Reference;
  readonly outcome: Promise<Outcome>;
}

/**
 * Blobs on their way to where the image is pushed to: each once for a repository, however many tags name it and however
 * early it was begun. From one repository to the next of the same registry it is mounted. Disposing stops what is under way.
 */
export class Uploads implements AsyncDisposable {
  readonly #input: UploadsInput;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #turns: Semaphore = createSemaphore(UPLOADS);
  /** By repository, then by digest. */
  readonly #blobs = new Map<string, Map<Digest, Promise<Outcome>>>();
  /** By registry and digest: the first repository there. */
  readonly #places = new Map<string, Place>();

  constructor(input: UploadsInput) {
    this.#input = input;
    this.#signal = AbortSignal.any([input.signal, this.#stop.signal]);
  }

  /** Begins with layers before the image is done. What fails is forgotten, and tried again when it is asked for. */
  begin(layers: readonly Layer[], repository: Reference): void {
    for (const layer of layers) this.layer(layer, repository).catch(() => undefined);
  }

  /** Resolves when the repository has the layer. @throws TsbuildError */
  async layer(layer: Layer, repository: Reference): Promise<Outcome> {
    const { repositories } = this.#input;
    const { descriptor, origin } = layer;
    const open = layerOpener(layer, { ...this.#input, signal: this.#signal });
    const source = origin === undefined ? { open } : { open, from: origin };
    const outcome = await this.blob(descriptor, source, repository);
    await repositories.remember(repository, descriptor.digest);
    return outcome;
  }

  /** Resolves when the repository has the blob. @throws TsbuildError */
  blob(blob: Descriptor, source: BlobSource, repository: Reference): Promise<Outcome> {
    const blobs = this.#of(repository);
    const known = blobs.get(blob.digest);
    if (known !== undefined) return known;
    const outcome = this.#place(blob, source, repository);
    blobs.set(blob.digest, outcome);
    outcome.catch(() => blobs.delete(blob.digest));
    return outcome;
  }

  /** Whether the repository has been given something that it did not have. Waits for what is under way. */
  async hasGiven(repository: Reference): Promise<boolean> {
    const outcomes = await Promise.allSettled(this.#of(repository).values());
    return outcomes.some((one) => one.status === "fulfilled" && one.value !== "exists");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("the uploads were stopped"));
    await Promise.allSettled([...this.#blobs.values()].flatMap((blobs) => [...blobs.values()]));
  }

  #of(repository: Reference): Map<Digest, Promise<Outcome>> {
    const name = formatRepository(repository);
    const known = this.#blobs.get(name) ?? new Map<Digest, Promise<Outcome>>();
    this.#blobs.set(name, known);
    return known;
  }

  #place(blob: Descriptor, source: BlobSource, repository: Reference): Promise<Outcome> {
    const key = `${repository.registry} ${blob.digest}`;
    const first = this.#places.get(key);
    if (first !== undefined) return this.#mount(first, blob, source, repository);
    const outcome = this.#push(blob, source, repository);
    this.#places.set(key, { repository, outcome });
    outcome.catch(() => this.#places.delete(key));
    return outcome;
  }

  async #mount(
    first: Place,
    blob: Descriptor,
    source: BlobSource,
    repository: Reference,
  ): Promise<Outcome> {
    const isThere = await first.outcome.then(
      () => true,
      () => false,
    );
    const { registry, repository: name } = first.repository;
    const from = isThere ? { from: { registry, repository: name } } : {};
    return this.#push(blob, { ...source, ...from }, repository);
  }

  /** What nobody but this build can have put there is not looked for, and what lies elsewhere in the registry is mounted. */
  async #known(blob: Descriptor, source: BlobSource, repository: Reference): Promise<BlobSource> {
    if (source.isNew === true) return source;
    const { repositories } = this.#input;
    const { registry } = repository;
    const isNear = source.from?.registry === registry;
    const from = isNear ? source.from : await repositories.placeOf(registry, blob.digest);
    if (from?.repository === repository.repository) return source;
    const isNew = await repositories.isNew(repository);
    return { ...source, isNew, ...(from === undefined ? {} : { from }) };
  }

  async #push(blob: Descriptor, given: BlobSource, repository: Reference): Promise<Outcome> {
    const source = await this.#known(blob, given, repository);
    using _turn = await this.#turns.acquire(this.#signal);
    const { registry, emit } = this.#input;
    let bytes = 0;
    const onBytes = (more: number): void => {
      bytes += more;
      const id = `${formatRepository(repository)}@${blob.digest}`;
      emit({ type: "transfer", id, direction: "push", bytes, total: blob.size });
    };
    return await registry.pushBlob(repository, blob, source, { signal: this.#signal, onBytes });
  }
}
