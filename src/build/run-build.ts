import { fetchUrlFile, openGit, parseGitRef } from "../context/index.js";
import type { RemoteSources } from "../context/types.js";
import { parseDockerfile, planStages } from "../dockerfile/index.js";
import type { Dockerfile, StagePlan } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { type HttpClient, createHttpClient } from "../internal/http.js";
import {
  formatRepository,
  parseReference,
  withDefaultTag,
  type Reference,
} from "../oci/reference.js";
import { formatPlatform } from "../oci/platform.js";
import type { Image } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import { solve } from "../solver/solve.js";
import type { Emit, NamedContext, SolveOptions } from "../solver/types.js";
import { openStore } from "../store/index.js";
import { Cleanup } from "./cleanup.js";
import { withPlatform } from "./platform-events.js";
import { namedContexts, openContext } from "./contexts.js";
import { defaultStore, httpEnvironment } from "./environment.js";
import { exportImages } from "./export.js";
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
  const { dockerfile, path } = await readOnce(options, solving);
  const plans = solving.map((one) => planFor(dockerfile, options, one, contexts));

  await using cleanup = new Cleanup();
  const environment = options.environment ?? {};
  const registry = cleanup.use(openRegistry(options));
  const http = cleanup.use(createHttpClient(httpEnvironment(environment)));
  const context = cleanup.use(await openContext(options.context, path, signal));
  if (options.push !== false && options.skipPushPermissionCheck !== true) {
    await checkPush(destinations, registry, signal);
  }
  const store = cleanup.use(await openStore(options.store ?? defaultStore(environment), signal));
  const shared = {
    escape: dockerfile.escape,
    warnings: dockerfile.warnings,
    store,
    registry,
    context: () => Promise.resolve(context),
    contexts,
    secret,
    agent: (id: string) => options.sshAgents?.[id],
    remote: remoteSources(http, options, signal),
    worker: workerStarter(options, { store, cleanup, emit, signal }),
    signal,
  };
  const images: Image[] = [];
  for (const { plan, options: chosen } of plans) {
    images.push(
      await solve({ ...shared, plan, options: chosen, emit: emitFor(chosen, plans, emit) }),
    );
  }
  const exporting = { options, destinations, registry, store, emit, signal };
  const result = await exportImages(images, exporting);
  emit({ type: "done", image: result.image, ms: performance.now() - started });
  return result;
}

function remoteSources(
  client: HttpClient,
  { environment = {} }: BuildOptions,
  signal: AbortSignal,
): RemoteSources {
  return {
    file: (url, file) => fetchUrlFile(url, { ...file, client, signal }),
    parseGit: parseGitRef,
    git: (ref, git) => openGit(ref, { ...git, environment, signal }),
  };
}

interface PlatformPlan {
  readonly plan: StagePlan;
  readonly options: SolveOptions;
}

/** With several platforms every step says which one it is for. */
function emitFor(
  { targetPlatform }: SolveOptions,
  plans: readonly PlatformPlan[],
  emit: Emit,
): Emit {
  if (plans.length === 1) return emit;
  const platform = formatPlatform(targetPlatform);
  const at = plans.findIndex(({ options }) => options.targetPlatform === targetPlatform);
  return (event) => emit(withPlatform(event, platform, at));
}

/** What can be wrong with the options is found before anything is opened. @throws TsbuildError USAGE */
async function checkOptions(
  options: BuildOptions,
  signal: AbortSignal,
): Promise<{
  readonly destinations: readonly Reference[];
  readonly contexts: ReadonlyMap<string, NamedContext>;
  readonly solving: readonly SolveOptions[];
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

async function readOnce(
  options: BuildOptions,
  [first]: readonly SolveOptions[],
): Promise<{ readonly dockerfile: Dockerfile; readonly path: string }> {
  const { file, path } = await readDockerfile(options.dockerfile, options.context);
  const check = first?.buildArgs.get("BUILDKIT_DOCKERFILE_CHECK");
  return { dockerfile: parseDockerfile(file, check === undefined ? {} : { check }), path };
}

function planFor(
  dockerfile: Dockerfile,
  options: BuildOptions,
  solving: SolveOptions,
  contexts: ReadonlyMap<string, NamedContext>,
): PlatformPlan {
  const { buildArgs, buildPlatform, targetPlatform } = solving;
  const plan = planStages(dockerfile, {
    ...(options.target === undefined ? {} : { target: options.target }),
    buildArgs,
    buildPlatform,
    targetPlatform,
    contexts: new Set(contexts.keys()),
  });
  const epoch = sourceDateEpoch(options, plan.globalArgs.get("SOURCE_DATE_EPOCH"));
  return {
    plan,
    options: { ...solving, ...(epoch === undefined ? {} : { sourceDateEpoch: epoch }) },
  };
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
