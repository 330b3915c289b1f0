import type { Digest } from "../oci/digest.js";
import { formatReference, formatRepository, type Reference } from "../oci/reference.js";
import type { Registry } from "../registry/types.js";
import { keyOf } from "../solver/cache/key.js";
import type { Records } from "../store/types.js";

/** Of the records. */
const VERSION = 1;

export interface RepositoriesInput {
  readonly registry: Registry;
  readonly records: Records;
  readonly signal: AbortSignal;
}

/**
 * What is known of the repositories that a build pushes to, so that each registry is asked as little as can be: which do not
 * exist yet, what a tag names, and where the store's layers have been pushed to before. A hint that is wrong costs a request.
 */
export class Repositories {
  readonly #input: RepositoriesInput;
  readonly #tags = new Map<string, Promise<Digest | undefined>>();
  readonly #new = new Map<string, Promise<boolean>>();
  readonly #remembered = new Set<string>();

  constructor(input: RepositoriesInput) {
    this.#input = input;
  }

  /** Asks what the destination's tag names, and where that is nothing whether there is a repository, beside the build. */
  foresee(destination: Reference): void {
    const { registry, signal } = this.#input;
    const asking = registry.find(destination, { signal });
    this.#tags.set(formatReference(destination), asking);
    const name = formatRepository(destination);
    // One tag of a repository is enough to know that it is there.
    const before = this.#new.get(name);
    const isNew = asking.then(
      (named) => named === undefined && (before ?? this.#ask(destination)),
      () => false,
    );
    this.#new.set(name, isNew);
  }

  /** What the destination names, as it was found out beside the build, or now. @throws TsbuildError REGISTRY_UNAVAILABLE */
  async find(destination: Reference): Promise<Digest | undefined> {
    const { registry, signal } = this.#input;
    const name = formatReference(destination);
    const early = this.#tags.get(name);
    this.#tags.delete(name);
    try {
      if (early !== undefined) return await early;
    } catch {
      signal.throwIfAborted();
    }
    return registry.find(destination, { signal });
  }

  /** Whether the repository does not exist yet, or did not when this build began: then it has nothing that others put there. */
  isNew(repository: Reference): Promise<boolean> {
    const name = formatRepository(repository);
    const known = this.#new.get(name) ?? this.#ask(repository);
    this.#new.set(name, known);
    return known;
  }

  /** For a repository without tags: nothing tells whether it is there. */
  assume(repository: Reference): void {
    this.#new.set(formatRepository(repository), Promise.resolve(false));
  }

  async #ask(repository: Reference): Promise<boolean> {
    const { registry, records, signal } = this.#input;
    try {
      if ((await records.find(repositoryKey(repository))) !== undefined) return false;
      return !(await registry.hasRepository(repository, { signal, isOptional: true }));
    } catch {
      // Who pushes there hears of it.
      return false;
    }
  }

  /** A repository of the registry that was given the layer by an earlier build of this store. */
  async placeOf(registry: string, layer: Digest): Promise<Reference | undefined> {
    const found: unknown = await this.#input.records.find(layerKey(registry, layer));
    if (typeof found !== "object" || found === null) return undefined;
    const { version, kind, repository } = found as Readonly<Record<string, unknown>>;
    if (version !== VERSION || kind !== "pushed" || typeof repository !== "string")
      return undefined;
    return { registry, repository };
  }

  /** Keeps for later builds that the repository has the layer. */
  async remember(repository: Reference, layer: Digest): Promise<void> {
    const { registry, repository: name } = repository;
    const value = { version: VERSION, kind: "pushed", repository: name };
    const keys = [layerKey(registry, layer), repositoryKey(repository)];
    for (const key of keys) {
      if (this.#remembered.has(key)) continue;
      this.#remembered.add(key);
      // The next build asks a registry more, that is all.
      await this.#input.records.put(key, value).catch(() => undefined);
    }
  }
}

function layerKey(registry: string, layer: Digest): string {
  return keyOf([
    { name: "pushed to", value: registry },
    { name: "layer", value: layer },
  ]);
}

function repositoryKey(repository: Reference): string {
  return keyOf([{ name: "pushed to", value: formatRepository(repository) }]);
}
