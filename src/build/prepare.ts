import { fetchUrlFile, openGit, parseGitRef } from "../context/index.js";
import type { RemoteSources } from "../context/types.js";
import { parseDockerfile, planStages } from "../dockerfile/index.js";
import type { Dockerfile, StagePlan } from "../dockerfile/types.js";
import { type HttpClient, createHttpClient } from "../internal/http.js";
import type { Registry } from "../registry/types.js";
import type { Emit, NamedContext, SolveInput, SolveOptions } from "../solver/types.js";
import { openStore } from "../store/index.js";
import type { Cleanup } from "./cleanup.js";
import { type MainContext, namedContexts, openContext, placeMainContext } from "./contexts.js";
import type { ContextFetcher } from "./contexts-fetch.js";
import { httpEnvironment, storeDirectory } from "./environment.js";
import type { BuildOptions } from "./options.js";
import { readDockerfile } from "./read-dockerfile.js";
import { secretSource } from "./secrets.js";
import { solveOptions, sourceDateEpoch } from "./solve-options.js";
import { workerStarter } from "./worker-starter.js";

/** What one platform is built from. */
export interface PlatformPlan {
  readonly plan: StagePlan;
  readonly options: SolveOptions;
}

/** The Dockerfile, read and planned, and the context that it may have come with; nothing else is open yet. */
export interface Planned {
  readonly dockerfile: Dockerfile;
  readonly path: string;
  readonly context: MainContext;
  readonly plans: readonly PlatformPlan[];
  readonly contexts: ReadonlyMap<string, NamedContext>;
  readonly secret: ReturnType<typeof secretSource>;
}

/** What all platforms share. */
export type SharedInput = Omit<SolveInput, "plan" | "options" | "emit">;

/** What can be wrong with the options and the Dockerfile is found before anything is opened. @throws TsbuildError */
export async function planBuild(options: BuildOptions, fetcher: ContextFetcher): Promise<Planned> {
  const contexts = namedContexts(options.buildContexts ?? {}, fetcher);
  const solving = await solveOptions(options);
  const secret = secretSource(options);
  const context = await placeMainContext(options, fetcher);
  const { dockerfile, path } = await readOnce(options, context, solving);
  const plans = solving.map((one) => planFor(dockerfile, options, one, contexts));
  return { dockerfile, path, context, plans, contexts, secret };
}

/** Opens what building needs; `cleanup` closes it. */
export async function openBuild(
  options: BuildOptions,
  { dockerfile, path, context: main, contexts, secret }: Planned,
  { registry, cleanup, emit, signal }: OpenInput,
): Promise<SharedInput> {
  const environment = options.environment ?? {};
  const http = cleanup.use(createHttpClient(httpEnvironment(environment)));
  const context = cleanup.use(await openContext(main.directory, path, signal));
  const store = cleanup.use(await openStore(storeDirectory(options.store, environment), signal));
  return {
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
}

export interface OpenInput {
  readonly registry: Registry;
  readonly cleanup: Cleanup;
  readonly emit: Emit;
  readonly signal: AbortSignal;
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

async function readOnce(
  options: BuildOptions,
  context: MainContext,
  [first]: readonly SolveOptions[],
): Promise<{ readonly dockerfile: Dockerfile; readonly path: string }> {
  const { file, path } = await readDockerfile(options.dockerfile, context);
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
