import type { Image } from "../../oci/types.js";
import type { CacheKey } from "../../solver/cache/key.js";
import type { RecordBook, RecordSubject, StepRecord } from "../../solver/cache/types.js";
import type { Entry } from "./page.js";

/** All records that a build makes or uses, for writing them down at its end. */
export class CollectedRecords implements RecordBook {
  readonly #entries = new Map<CacheKey, Entry>();

  find(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  save(key: CacheKey, record: StepRecord, about: RecordSubject): Promise<void> {
    this.#entries.set(key, { key, record, about });
    return Promise.resolve();
  }

  found(key: CacheKey, record: StepRecord, about: RecordSubject): Promise<void> {
    return this.save(key, record, about);
  }

  /** Always in the same order: stages and platforms are built at once, and an image has these in its configuration. */
  all(): readonly Entry[] {
    return [...this.#entries.values()].toSorted(byKey);
  }

  /**
   * Those of layers of the images, and what points to them; layers as they are in the images.
   * @param created RFC 3339: instead of when they were really made
   */
  of(images: readonly Image[], created?: string): readonly Entry[] {
    const layers = new Map(
      images.flatMap((image) => image.layers.map((layer) => [layer.diffId, layer] as const)),
    );
    const chosen = new Map<CacheKey, Entry>();
    for (const entry of this.#entries.values()) {
      const { key, record } = entry;
      const layer = record.kind === "layer" ? layers.get(record.layer.diffId) : undefined;
      if (record.kind !== "layer" || layer === undefined) continue;
      const { mediaType, digest, size } = layer.descriptor;
      const sealed = { ...record.layer, descriptor: { mediaType, digest, size } };
      const dated = created === undefined ? record : { ...record, created };
      chosen.set(key, { ...entry, record: { ...dated, layer: sealed } });
    }
    for (const entry of this.#entries.values()) {
      if (entry.record.kind === "pointer" && chosen.has(entry.record.to)) {
        chosen.set(entry.key, entry);
      }
    }
    return [...chosen.values()].toSorted(byKey);
  }
}

function byKey(a: Entry, b: Entry): number {
  return a.key < b.key ? -1 : 1;
}
