import type { Registry } from "../../registry/types.js";
import type { Emit } from "../../solver/types.js";
import type { BuildOptions } from "../options.js";
import { parseDuration } from "../store-size.js";
import { withWarmedImages } from "./warmed-images.js";

/** Kaniko's, two weeks. */
export const DEFAULT_TTL = "336h";

/** The registry, with the images that the options say are laid ready. @throws TsbuildError USAGE */
export function withWarmed(
  registry: Registry,
  { cacheDirectory, registryCache, cache }: BuildOptions,
  emit: Emit,
): Registry {
  if (cacheDirectory === undefined || cache === false) return registry;
  const ttl = parseDuration(registryCache?.ttl ?? DEFAULT_TTL, "the cache's ttl");
  return withWarmedImages(registry, { directory: cacheDirectory, ttl, emit });
}
