import type { Image } from "../oci/types.js";
import { solve } from "../solver/solve.js";
import { createdAt } from "../solver/state.js";
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
import { earlyUploads, foreseeAll, pushPermission, repositoriesOf } from "./push-permission.js";
import { openRegistry } from "./registry.js";
import { withWarmed } from "./cache/warmed.js";
import { boundStore, readKeepStorage } from "./store-bound.js";
import { willRun } from "./will-run.js";

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
  const registry = cleanup.use(withWarmed(openRegistry(options, emit), options, emit));
  const repositories = repositoriesOf(destinations);
  const permission = pushPermission(options, { registry, repositories, signal });
  // What ADD names may be large: who may not push need not wait for it.
  const onFetch = (): void => void permission.ask();
  const fetcher = cleanup.use(new ContextFetcher(options, emit, permission.signal, onFetch));
  const refused = (error: unknown): never => {
    throw permission.reason(error);
  };
  const planned = await planBuild(options, fetcher).catch(refused);
  const { plans } = planned;
  const platforms = plans.map((one) => one.options.targetPlatform);
  await checkOutputs(options, plans.length);
  const index = makesIndex(options, plans.length);
  const annotations = readAnnotations(options.annotations ?? {}, platforms, index);

  const opening = { registry, cleanup, emit, signal: permission.signal, whole: signal };
  const opened = await openBuild(options, planned, opening);
  const { shared, uploads, repositories: known, cache, mounts, solved } = opened;
  const { store, faults } = shared;
  // Who needs it hears of a failure.
  if (await willRun(options, plans, store)) shared.worker().catch(() => undefined);
  foreseeAll(destinations, known);
  const onWork = earlyUploads(options, repositories, permission, uploads);
  const [first] = plans;
  const created = first && createdAt(first.options);
  const sending = { registry, store, uploads, repositories: known, emit, signal, faults };
  const fields = cache && ((image: Image) => cache.fields(image, created));
  const exporting = { ...sending, options, destinations, annotations, created, fields };
  const solving = saidOnce(emit);
  const work = async (): Promise<BuildResult> => {
    solving.begin();
    const common = { ...shared, emit: solving.emit, onWork };
    const images = await solve(common, plans).catch(refused);
    solved();
    await permission.settled();
    const exported = await exportImages(images, exporting);
    await cache?.write(images);
    await mounts?.write();
    return exported;
  };
  // Steps that succeeded are of use to the next build, also when another one failed.
  const settled = async (): Promise<void> => cache?.settled();
  const result = await withGoodLayers(work, { faults, emit, signal, settled });
  const began = Date.now() - (performance.now() - started);
  await boundStore(store, keepStorage, { began, emit, signal });
  emit({ type: "done", image: result.image, ms: performance.now() - started });
  return result;
}
