import { setMaxListeners } from "node:events";
import { formatRepository, type Reference } from "../oci/reference.js";
import { layerCompression } from "../oci/media-types.js";
import type { Layer } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import type { Destinations } from "./destinations.js";
import type { BuildOptions } from "./options.js";
import type { Repositories } from "./repositories.js";
import type { Uploads } from "./uploads.js";

/** Whether the result may be pushed: asked when there is work to do, beside its beginning, and no more than once. */
export interface PushPermission {
  /** Ends with the caller's signal, and when a registry refuses. */
  readonly signal: AbortSignal;
  /** Resolves when every registry has said yes. @throws TsbuildError REGISTRY_DENIED, REGISTRY_UNAVAILABLE */
  ask(): Promise<void>;
  /** Waits for an answer that is under way. @throws TsbuildError as `ask` */
  settled(): Promise<void>;
  /** What ended the work: the registry's refusal, or the error that was thrown. */
  reason(thrown: unknown): unknown;
}

export interface PermissionInput {
  readonly registry: Registry;
  readonly repositories: readonly Reference[];
  readonly signal: AbortSignal;
}

export function pushPermission(
  { skipPushPermissionCheck }: BuildOptions,
  { registry, repositories, signal }: PermissionInput,
): PushPermission {
  const refused = new AbortController();
  const either = AbortSignal.any([signal, refused.signal]);
  // Whatever waits in the build listens to it; Node would take more than ten for a leak.
  setMaxListeners(0, either);
  const check = async (): Promise<void> => {
    if (skipPushPermissionCheck === true) return;
    await Promise.all(repositories.map((one) => registry.checkPush(one, { signal })));
  };
  let asked: Promise<void> | undefined;
  return {
    signal: either,
    ask() {
      if (asked !== undefined) return asked;
      asked = check();
      asked.catch((error: unknown) => refused.abort(error));
      return asked;
    },
    settled: () => asked ?? Promise.resolve(),
    reason: (thrown) =>
      refused.signal.aborted && !signal.aborted ? refused.signal.reason : thrown,
  };
}

/** Where the image is pushed to, each repository once. */
export function repositoriesOf({ pushed, byDigest }: Destinations): readonly Reference[] {
  return [...new Map([...pushed, ...byDigest].map((one) => [formatRepository(one), one])).values()];
}

/** Begins to ask what there is where the image is pushed to. */
export function foreseeAll({ pushed, byDigest }: Destinations, known: Repositories): void {
  for (const repository of byDigest) known.assume(repository);
  for (const destination of pushed) known.foresee(destination);
}

/** Uploads layers of the result as soon as they are known, once that is allowed. */
export function earlyUploads(
  options: BuildOptions,
  repositories: readonly Reference[],
  permission: PushPermission,
  uploads: Uploads,
): (layers: readonly Layer[]) => Promise<void> {
  return (layers) => {
    const allowed = permission.ask();
    const final = layers.filter((layer) => staysAsItIs(layer, options));
    const begin = (): void => repositories.forEach((one) => uploads.begin(final, one));
    // Who waits for the permission hears of a refusal.
    allowed.then(begin, () => undefined);
    return allowed;
  };
}

/** A layer that will be compressed in another way is not the result's. */
function staysAsItIs({ descriptor }: Layer, options: BuildOptions): boolean {
  const { forceCompression, compression = "gzip" } = options;
  return forceCompression !== true || layerCompression(descriptor.mediaType) === compression;
}
