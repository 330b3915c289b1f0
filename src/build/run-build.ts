import { fetchUrlFile } from "../context/index.js";
import { parseDockerfile, planStages } from "../dockerfile/index.js";
import type { Dockerfile, StagePlan } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { createHttpClient } from "../internal/http.js";
import {
  formatRepository,
  parseReference,
  withDefaultTag,
  type Reference,
} from "../oci/reference.js";
import type { Registry } from "../registry/types.js";
import { solve } from "../solver/solve.js";
import type { Emit, NamedContext, SolveOptions } from "../solver/types.js";
import { openStore } from "../store/index.js";
import { Cleanup } from "./cleanup.js";
import { namedContexts, openContext } from "./contexts.js";
import { defaultStore, httpEnvironment } from "./environment.js";
import { exportImage } from "./export.js";
import type { BuildOptions, BuildResult } from "./options.js";
import { readDockerfile } from "./read-dockerfile.js";
import { openRegistry } from "./registry.js";
import { secretSource } from "./secrets.js";
import { solveOptions, sourceDateEpoch } from "./solve-options.js";
import { workerStarter } from "./worker-starter.js";

/** One build from its options to its result. Everything that it opens is closed when it returns, in reverse order. */
export async function runBuild(
  options: BuildOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<BuildResult> {
  const started = performance.now();
  const { destinations, contexts, solving, secret } = await checkOptions(options, signal);
  const { dockerfile, path, plan } = await readPlan(options, solving, contexts);
  const epoch = sourceDateEpoch(options, plan.globalArgs.get("SOURCE_DATE_EPOCH"));

  await using cleanup = new Cleanup();
  const environment = options.environment ?? {};
  const registry = cleanup.use(openRegistry(options));
  const http = cleanup.use(createHttpClient(httpEnvironment(environment)));
  const context = cleanup.use(await openContext(options.context, path, signal));
  if (options.push !== false && options.skipPushPermissionCheck !== true) {
    await checkPush(destinations, registry, signal);
  }
  const store = cleanup.use(await openStore(options.store ?? defaultStore(environment), signal));
  const image = await solve({
    plan,
    escape: dockerfile.escape,
    warnings: dockerfile.warnings,
    options: { ...solving, ...(epoch === undefined ? {} : { sourceDateEpoch: epoch }) },
    store,
    registry,
    context: () => Promise.resolve(context),
    contexts,
    secret,
    agent: (id) => options.sshAgents?.[id],
    remote: { file: (url, file) => fetchUrlFile(url, { ...file, client: http, signal }) },
    worker: workerStarter(options, { store, cleanup, emit, signal }),
    signal,
    emit,
  });
  const exporting = { options, destinations, registry, store, emit, signal };
  const result = await exportImage(image, exporting);
  emit({ type: "done", image: result.image, ms: performance.now() - started });
  return result;
}

/** What can be wrong with the options is found before anything is opened. @throws TsbuildError USAGE */
async function checkOptions(
  options: BuildOptions,
  signal: AbortSignal,
): Promise<{
  readonly destinations: readonly Reference[];
  readonly contexts: ReadonlyMap<string, NamedContext>;
  readonly solving: SolveOptions;
  readonly secret: ReturnType<typeof secretSource>;
}> {
  const destinations = (options.destinations ?? []).map(parseDestination);
  requireDestination(options, destinations);
  return {
    destinations,
    contexts: namedContexts(options.buildContexts ?? {}, signal),
    solving: await solveOptions(options),
    secret: secretSource(options),
  };
}

async function readPlan(
  options: BuildOptions,
  { buildArgs, buildPlatform, targetPlatform }: SolveOptions,
  contexts: ReadonlyMap<string, NamedContext>,
): Promise<{ readonly dockerfile: Dockerfile; readonly path: string; readonly plan: StagePlan }> {
  const { file, path } = await readDockerfile(options.dockerfile, options.context);
  const check = buildArgs.get("BUILDKIT_DOCKERFILE_CHECK");
  const dockerfile = parseDockerfile(file, check === undefined ? {} : { check });
  const plan = planStages(dockerfile, {
    ...(options.target === undefined ? {} : { target: options.target }),
    buildArgs,
    buildPlatform,
    targetPlatform,
    contexts: new Set(contexts.keys()),
  });
  return { dockerfile, path, plan };
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

/** A refusal is found before the build, not after it. */
async function checkPush(
  destinations: readonly Reference[],
  registry: Registry,
  signal: AbortSignal,
): Promise<void> {
  const repositories = new Map(destinations.map((one) => [formatRepository(one), one]));
  for (const reference of repositories.values()) await registry.checkPush(reference, { signal });
}
