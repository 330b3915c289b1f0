import type { Registry } from "../../registry/types.js";
import type { LayerFaults } from "../../solver/layer-faults.js";
import type { Store } from "../../store/types.js";
import type { Repositories } from "../repositories.js";
import type { Uploads } from "../uploads.js";
import { layoutPlace } from "./layout-place.js";
import type { PlaceName } from "./options.js";
import type { CachePlace } from "./place.js";
import { registryPlace } from "./registry-place.js";

export interface OpenPlaceInput {
  readonly registry: Registry;
  readonly uploads: Uploads;
  readonly repositories: Repositories;
  readonly store: Store;
  readonly faults: LayerFaults;
  readonly signal: AbortSignal;
}

/** Nothing is asked or read yet. */
export function openPlace(place: PlaceName, input: OpenPlaceInput): CachePlace {
  return place.kind === "layout"
    ? layoutPlace(place.path, input)
    : registryPlace(place.reference, input);
}
