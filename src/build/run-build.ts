import type { Image } from "../oci/types.js";
import { solve } from "../solver/solve.js";
import { createdAt } from "../solver/state.js";
import { LayerFaults } from "../solver/layer-faults.js";
import type { Emit } from "../solver/types.js";
import { saidOnce, withGoodLayers } from "./begin-again.js";
import { Cleanup } from "./cleanup.js";
import { ContextFetcher } from "./contexts-fetch.js";
import { destinationsOf } from "./destinations.js";
import { checkOutputs, exportImages } from "./export.js";
import { readAnnotations } from "./export-annotations.js";
import { makesIndex } from "./export-image.js";
import type { BuildOptions, BuildResult } from "./options.js";
import { openBuild, planBuild } from "./prepare.js";
import { earlyUploads, pushPermission, repositoriesOf } from "./push-permission.js";
import { openRegistry } from "./registry.js";
import { withWarmed } from "./cache/warmed.js";
import { boundStore, readKeepStorage } from "./store-bound.js";

/** One build from its options to its result. Everything that it opens is closed when it returns, in reverse order. */
export async function runBuild(
  options: BuildOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<BuildResult> {
  const started = performance.now();
  const destinations = destinationsOf(options);
  const keepStorage = readKeepStorage(options.keepStorage, options.environment ?? {});
  await using cleanup = new Cleanup();
  const registry = cleanup.use(withWarmed(openRegistry(options), options, emit));
  const repositories = repositoriesOf(destinations);
  const permission = pushPermission(options, { registry, repositories, signal });
  const fetcher = cleanup.use(new ContextFetcher(options, emit, permission.signal));
  const planned = await planBuild(options, fetcher);
  const { plans } = planned;
  const platforms = plans.map((one) => one.options.targetPlatform);
  await checkOutputs(options, plans.length);
  const index = makesIndex(options, plans.length);
  const annotations = readAnnotations(options.annotations ?? {}, platforms, index);

  const faults = new LayerFaults();
  const opening = { registry, cleanup, emit, faults, signal: permission.signal, whole: signal };
  const { shared, uploads, cache, mounts } = await openBuild(options, planned, opening);
  const { store } = shared;
  const onWork = earlyUploads(options, repositories, permission, uploads);
  const [first] = plans;
  const created = first && createdAt(first.options);
  const sending = { registry, store, uploads, emit, signal, faults };
  const fields = cache && ((image: Image) => cache.fields(image, created));
  const exporting = { ...sending, options, destinations, annotations, created, fields };
  const solving = saidOnce(emit);
  const work = async (): Promise<BuildResult> => {
    solving.begin();
    const common = { ...shared, emit: solving.emit, onWork };
    const images = await solve(common, plans).catch((error: unknown) => {
      throw permission.reason(error);
    });
    await permission.settled();
    const exported = await exportImages(images, exporting);
    await cache?.write(images);
    await mounts?.write();
    return exported;
  };
  const building = async (): Promise<BuildResult> => {
    try {
      return await withGoodLayers(work, { faults, emit, signal });
    } finally {
      // Steps that succeeded are of use to the next build, also when another one failed.
      await cache?.settled();
    }
  };
  const result = await building();
  const began = Date.now() - (performance.now() - started);
  await boundStore(store, keepStorage, { began, emit, signal });
  emit({ type: "done", image: result.image, ms: performance.now() - started });
  return result;
}
