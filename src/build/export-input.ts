import type { Layer } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import { goneFromStore, type LayerFaults } from "../solver/layer-faults.js";
import type { Emit } from "../solver/types.js";
import type { Store } from "../store/types.js";

/** What sending images anywhere needs. */
export interface PushInput {
  readonly registry: Registry;
  readonly store: Store;
  readonly emit: Emit;
  readonly signal: AbortSignal;
  /** Hears of layers that cannot be read. */
  readonly faults: LayerFaults;
}

/** A layer's bytes: from the store, or from where the base came. */
export function layerOpener(
  layer: Layer,
  { store, registry, signal: whole, faults }: Omit<PushInput, "emit">,
): (signal?: AbortSignal) => AsyncIterable<Uint8Array> {
  return async function* (signal = whole) {
    const { descriptor, origin } = layer;
    const { digest } = descriptor;
    const isHere = (await store.stat(digest)) !== undefined;
    try {
      if (isHere) yield* store.getFresh(digest, signal);
      else if (layer.open !== undefined) yield* layer.open(signal);
      else if (origin !== undefined) yield* registry.blob(origin, descriptor, { signal });
      else throw goneFromStore(digest);
    } catch (error) {
      if (signal.aborted) throw error;
      const isElsewhere = layer.open !== undefined || origin !== undefined;
      if (isHere || !isElsewhere) faults.damagedHere(digest, error);
      else faults.unreadable(digest, error);
      throw error;
    }
  };
}
