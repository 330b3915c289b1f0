import { fetchUrlFile, findIgnoreFile, openDirectory } from "../context/index.js";
import type { FileSource } from "../context/types.js";
import { parseDockerfile, planStages } from "../dockerfile/index.js";
import { TsbuildError } from "../errors.js";
import { createHttpClient } from "../internal/http.js";
import { parseReference, withDefaultTag, type Reference } from "../oci/reference.js";
import { solve } from "../solver/solve.js";
import type { Emit } from "../solver/types.js";
import { openStore } from "../store/index.js";
import { startWorker } from "../worker/start.js";
import type { Worker } from "../worker/types.js";
import { Cleanup } from "./cleanup.js";
import { defaultStore, httpEnvironment } from "./environment.js";
import { exportImage } from "./export.js";
import type { BuildOptions, BuildResult } from "./options.js";
import { readDockerfile } from "./read-dockerfile.js";
import { openRegistry } from "./registry.js";
import { solveOptions, sourceDateEpoch } from "./solve-options.js";

/** One build from its options to its result. Everything that it opens is closed when it returns, in reverse order. */
export async function runBuild(
  options: BuildOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<BuildResult> {
  const started = performance.now();
  const destinations = (options.destinations ?? []).map(parseDestination);
  requireDestination(options, destinations);
  const solving = await solveOptions(options);
  const found = await readDockerfile(options.dockerfile, options.context);
  const dockerfile = parseDockerfile(found.file);
  for (const diagnostic of dockerfile.warnings) emit({ type: "warning", diagnostic });
  const plan = planStages(dockerfile, {
    ...(options.target === undefined ? {} : { target: options.target }),
    buildArgs: solving.buildArgs,
    buildPlatform: solving.buildPlatform,
    targetPlatform: solving.targetPlatform,
  });
  const epoch = sourceDateEpoch(options, plan.globalArgs.get("SOURCE_DATE_EPOCH"));

  await using cleanup = new Cleanup();
  const registry = cleanup.use(openRegistry(options));
  const http = cleanup.use(createHttpClient(httpEnvironment(options.environment ?? {})));
  const context = cleanup.use(await openContext(options.context, found.path, signal));
  if (options.push !== false && options.skipPushPermissionCheck !== true) {
    for (const reference of uniqueRepositories(destinations)) {
      await registry.checkPush(reference, { signal });
    }
  }
  const root = options.store ?? defaultStore(options.environment ?? {});
  const store = cleanup.use(await openStore(root, signal));
  let worker: Promise<Worker> | undefined;
  const start = async (): Promise<Worker> => {
    const made = await startWorker({
      driver: options.driver ?? "auto",
      staging: store.staging,
      layersDirectory: (idMap) => store.layersDirectory(idMap),
      abandoned: await store.abandoned(),
      signal,
    });
    cleanup.use(made);
    emit({ type: "driver", name: made.host.driver, ...driverNote(made) });
    return made;
  };
  const image = await solve({
    plan,
    escape: dockerfile.escape,
    options: { ...solving, ...(epoch === undefined ? {} : { sourceDateEpoch: epoch }) },
    store,
    registry,
    context: () => Promise.resolve(context),
    remote: {
      file: (url, file) => fetchUrlFile(url, { ...file, client: http, signal }),
    },
    worker: () => (worker ??= start()),
    signal,
    emit,
  });
  const result = await exportImage(image, {
    options,
    destinations,
    registry,
    store,
    emit,
    signal,
  });
  emit({ type: "done", image: result.image, ms: performance.now() - started });
  return result;
}

/** A destination is a tag: a digest cannot be chosen. @throws TsbuildError USAGE */
function parseDestination(text: string): Reference {
  const reference = withDefaultTag(parseReference(text));
  if (reference.digest === undefined) return reference;
  throw new TsbuildError("USAGE", `"${text}" cannot be pushed to: a digest is not a name`, {
    hint: "use a tag: registry/repository:tag",
  });
}

function requireDestination(options: BuildOptions, destinations: readonly Reference[]): void {
  const writes = options.tarPath ?? options.ociLayoutPath;
  if (destinations.length > 0 || options.push === false || writes !== undefined) return;
  throw new TsbuildError("USAGE", "the image has nowhere to go", {
    hint: "name a --destination, or write --no-push",
  });
}

function uniqueRepositories(references: readonly Reference[]): readonly Reference[] {
  const byName = new Map(references.map((one) => [`${one.registry}/${one.repository}`, one]));
  return [...byName.values()];
}

async function openContext(
  path: string,
  dockerfile: string,
  signal: AbortSignal,
): Promise<FileSource> {
  const ignoreFile = await findIgnoreFile(dockerfile, path);
  return openDirectory(path, {
    name: "context",
    signal,
    ...(ignoreFile === undefined ? {} : { ignoreFile }),
  });
}

function driverNote(worker: Worker): { note?: string } {
  const refused = worker.host.refused.map(({ driver, because }) => `${driver}: ${because}`);
  return refused.length === 0 ? {} : { note: refused.join("; ") };
}
