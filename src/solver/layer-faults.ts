import { messageOf, TsbuildError } from "../errors.js";
import type { Digest } from "../oci/digest.js";
import type { CacheKey } from "./cache/key.js";

/** A layer whose bytes could not be had, though something said that they are there. */
export interface LayerFault {
  readonly digest: Digest;
  /** Who said so, for people: a repository, a directory, the store. */
  readonly where: string;
  readonly reason: string;
}

interface Noted extends LayerFault {
  readonly error: unknown;
  /** A damaged blob of the store is gone now: whoever has the layer besides is good for it. */
  readonly isHere: boolean;
}

interface Used {
  readonly where: string;
  readonly keys: Set<CacheKey>;
}

/** One line of an error's message. */
const SHOWN_REASON = 300;

/**
 * What became of layers that were there by word alone. Work that ends for such a layer may begin again: the record is not
 * believed then, and what was done before is found in the store. A layer has this once, so there is an end to it.
 */
export class LayerFaults {
  readonly #used = new Map<Digest, Used>();
  readonly #failed = new Set<Digest>();
  readonly #denied = new Set<Digest>();
  readonly #doubted = new Set<string>();
  readonly #because = new Map<CacheKey, string>();
  #noted: Noted[] = [];

  /** A step's layer is taken from a cache. @param where who has it, for people */
  use(digest: Digest, where: string, key: CacheKey): void {
    const used = this.#used.get(digest) ?? { where, keys: new Set() };
    used.keys.add(key);
    this.#used.set(digest, used);
  }

  /** Its bytes could not be had from where they should be. Of a layer that no cache gave, nobody can make another. */
  unreadable(digest: Digest, error: unknown): void {
    const used = this.#used.get(digest);
    if (used !== undefined) this.#note({ digest, where: used.where, error, isHere: false });
  }

  /** The store's blob is damaged, or gone, and was removed. */
  damagedHere(digest: Digest, error: unknown): void {
    this.#note({ digest, where: "the store", error, isHere: true });
  }

  #note(fault: Omit<Noted, "reason">): void {
    const [line = ""] = messageOf(fault.error).split("\n");
    this.#noted.push({ ...fault, reason: line.slice(0, SHOWN_REASON) });
  }

  /**
   * What the work that threw this failed for, each layer once: records of these are not believed from now on. None: the
   * failure has another reason, or has come again.
   */
  admit(thrown: unknown): readonly LayerFault[] {
    const noted = this.#noted;
    this.#noted = [];
    const causes = causesOf(thrown);
    const reasons = noted.filter(({ error }) => causes.has(error));
    if (!reasons.some(({ digest }) => !this.#failed.has(digest))) return [];
    const admitted = new Map<Digest, LayerFault>();
    for (const { digest, where, reason, isHere } of noted) {
      if (this.#failed.has(digest)) continue;
      admitted.set(digest, { digest, where, reason });
      if (!isHere) {
        this.#denied.add(digest);
        this.#doubted.add(where);
      }
      for (const key of this.#used.get(digest)?.keys ?? []) {
        this.#because.set(key, `the layer that ${where} has cannot be read: ${reason}`);
      }
    }
    for (const digest of admitted.keys()) this.#failed.add(digest);
    return [...admitted.values()];
  }

  /** Whether a record of the layer is not to be believed. */
  isDenied(digest: Digest): boolean {
    return this.#denied.has(digest);
  }

  /** Whether who is called so has not had a layer that it should have: where one is missing, others may be. */
  isDoubted(where: string): boolean {
    return this.#doubted.has(where);
  }

  /** Why the step of this key is made anew, where that is such a layer. */
  because(key: CacheKey | undefined): string | undefined {
    return key === undefined ? undefined : this.#because.get(key);
  }

  /** This build has made that very layer: the store has it whole. */
  made(digest: Digest): void {
    this.#denied.delete(digest);
  }
}

/** What a layer is that the store had, and that comes from nowhere else. */
export function goneFromStore(digest: Digest): TsbuildError {
  return new TsbuildError("STORE_FAILED", `layer ${digest} is gone from the store`, {
    hint: "something deleted it during the build; build again",
  });
}

function causesOf(thrown: unknown): ReadonlySet<unknown> {
  const causes = new Set<unknown>();
  for (let error = thrown; error !== undefined && !causes.has(error);) {
    causes.add(error);
    error = error instanceof Error ? error.cause : undefined;
  }
  return causes;
}
