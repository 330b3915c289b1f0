import type { RemoteSources } from "../context/types.js";
import { parseDockerfile, planStages } from "../dockerfile/index.js";
import type { Dockerfile, StagePlan } from "../dockerfile/types.js";
import type { Registry } from "../registry/types.js";
import { LayerFaults } from "../solver/layer-faults.js";
import type { Emit, NamedContext, SolveInput, SolveOptions } from "../solver/types.js";
import { openStore } from "../store/index.js";
import { openCache, type OpenCache } from "./cache.js";
import { openCacheMounts } from "./cache-mounts.js";
import type { SharedMounts } from "./cache/shared-mounts.js";
import type { Cleanup } from "./cleanup.js";
import { type MainContext, namedContexts, openContext, placeMainContext } from "./contexts.js";
import type { ContextFetcher } from "./contexts-fetch.js";
import { ignoredArgs } from "./ignored-args.js";
import type { BuildOptions } from "./options.js";
import { readDockerfile } from "./read-dockerfile.js";
import { Repositories } from "./repositories.js";
import { secretSource } from "./secrets.js";
import { agentSource, readAgents, type SshBackend } from "./ssh/sources.js";
import { solveOptions } from "./solve-options.js";
import { withEpoch } from "./source-date-epoch.js";
import { findStorePlace } from "./store-place.js";
import { Uploads } from "./uploads.js";
import { workerStarter } from "./worker-starter.js";

/** What one platform is built from. */
export interface PlatformPlan {
  readonly plan: StagePlan;
  readonly options: SolveOptions;
}

/** The Dockerfile, read and planned, and the context that it may have come with; nothing else is open yet. */
export interface Planned {
  readonly dockerfile: Dockerfile;
  /** Absent: it is no file of this machine. */
  readonly path: string | undefined;
  readonly context: MainContext;
  readonly plans: readonly PlatformPlan[];
  readonly contexts: ReadonlyMap<string, NamedContext>;
  readonly secret: ReturnType<typeof secretSource>;
  readonly remote: RemoteSources;
  readonly agents: ReadonlyMap<string, SshBackend>;
}

/** What all platforms share. */
export type SharedInput = Omit<SolveInput, "plan" | "options" | "emit">;

/** What can be wrong with the options and the Dockerfile is found before anything is opened. @throws TsbuildError */
export async function planBuild(options: BuildOptions, fetcher: ContextFetcher): Promise<Planned> {
  const contexts = namedContexts(options.buildContexts ?? {}, fetcher);
  const solving = await solveOptions(options);
  const secret = secretSource(options);
  const agents = await readAgents(options);
  const context = await placeMainContext(options, fetcher);
  const { dockerfile, path } = await readOnce(options, context, solving, fetcher);
  const { remote, signal } = fetcher;
  const epoch = { options, dockerfile, remote, signal };
  const plans: PlatformPlan[] = [];
  for (const one of solving) {
    plans.push(await withEpoch(planFor(dockerfile, options, one, contexts), epoch));
  }
  return { dockerfile, path, context, plans, contexts, secret, agents, remote };
}

/** What is open while a build goes on. */
export interface OpenBuild {
  readonly shared: SharedInput;
  readonly uploads: Uploads;
  readonly repositories: Repositories;
  readonly cache: OpenCache | undefined;
  readonly mounts: SharedMounts | undefined;
  /** To be called when no step is left: what only steps need is closed meanwhile, and would be opened again. */
  readonly solved: () => void;
}

/** Opens what building needs; `cleanup` closes it. */
export async function openBuild(
  options: BuildOptions,
  { dockerfile, path, plans, context: main, contexts, secret, agents, remote }: Planned,
  { registry, cleanup, emit, signal, whole }: OpenInput,
): Promise<OpenBuild> {
  const environment = options.environment ?? {};
  const faults = new LayerFaults();
  const isDated = plans.every((one) => one.options.sourceDateEpoch !== undefined);
  if (options.rewriteTimestamp === true && !isDated) {
    emit({ type: "notice", message: "rewrite-timestamp does nothing without a SOURCE_DATE_EPOCH" });
  }
  for (const message of ignoredArgs(options.buildArgs ?? {}, dockerfile)) {
    emit({ type: "notice", message });
  }
  const context = cleanup.use(await openContext(main.directory, path, signal));
  const place = await findStorePlace(options.store, environment);
  if (place.notice !== undefined) emit({ type: "notice", message: place.notice });
  const store = cleanup.use(await openStore(place.directory, signal));
  const starting = { context: main.directory, store, plans, cleanup, emit, signal };
  const { worker, letGo } = workerStarter(options, starting);
  const repositories = new Repositories({ registry, records: store.records, signal: whole });
  const sending = { registry, store, repositories, emit, faults, signal: whole };
  const uploads = cleanup.use(new Uploads(sending));
  const opening = {
    context: main.directory,
    store,
    faults,
    registry,
    uploads,
    repositories,
    worker,
    cleanup,
    emit,
  };
  const cache = await openCache(options, { ...opening, signal: whole });
  const mounts = openCacheMounts(options, { ...opening, signal: whole });
  const shared: SharedInput = {
    escape: dockerfile.escape,
    warnings: dockerfile.warnings,
    store,
    registry,
    context: () => Promise.resolve(context),
    contexts,
    secret,
    agent: agentSource(agents, store, cleanup),
    remote,
    worker,
    ...(cache === undefined ? {} : { cache: cache.input }),
    ...(mounts === undefined ? {} : { cacheMounts: mounts }),
    faults,
    signal,
  };
  const solved = (): void => {
    if (mounts === undefined) letGo();
  };
  return { shared, uploads, repositories, cache, mounts, solved };
}

export interface OpenInput {
  readonly registry: Registry;
  readonly cleanup: Cleanup;
  readonly emit: Emit;
  /** Ends the work. */
  readonly signal: AbortSignal;
  /** Ends also what goes on when the work was refused. */
  readonly whole: AbortSignal;
}

async function readOnce(
  options: BuildOptions,
  context: MainContext,
  [first]: readonly SolveOptions[],
  fetcher: ContextFetcher,
): Promise<{ readonly dockerfile: Dockerfile; readonly path: string | undefined }> {
  const { file, path } = await readDockerfile(options.dockerfile, context, fetcher);
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
  return { plan, options: solving };
}
