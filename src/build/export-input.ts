import { TsbuildError } from "../errors.js";
import type { Layer } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import type { Emit } from "../solver/types.js";
import type { Store } from "../store/types.js";

/** What sending images anywhere needs. */
export interface PushInput {
  readonly registry: Registry;
  readonly store: Store;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** A layer's bytes: from the store, or from where the base came. */
export function layerOpener(
  layer: Layer,
  { store, registry, signal: whole }: Omit<PushInput, "emit">,
): (signal?: AbortSignal) => AsyncIterable<Uint8Array> {
  return async function* (signal = whole) {
    const { descriptor, origin } = layer;
    if ((await store.stat(descriptor.digest)) !== undefined) {
      yield* store.get(descriptor.digest, signal);
    } else if (layer.open !== undefined) {
      yield* layer.open(signal);
    } else if (origin !== undefined) {
      yield* registry.blob(origin, descriptor, { signal });
    } else {
      throw new TsbuildError("STORE_FAILED", `layer ${descriptor.digest} is gone from the store`);
    }
  };
}
