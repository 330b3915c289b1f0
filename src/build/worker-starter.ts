import { TsbuildError } from "../errors.js";
import type { SolvePlan } from "../solver/solve.js";
import type { Emit } from "../solver/types.js";
import { removeTree } from "../store/index.js";
import type { Store } from "../store/types.js";
import { startWorker } from "../worker/start.js";
import type { DriverName, HostReport, Worker } from "../worker/types.js";
import type { Cleanup } from "./cleanup.js";
import { inPlaceOptions, withoutMeaning } from "./in-place.js";
import type { BuildOptions } from "./options.js";

const SINGLE_ID =
  "this user has no subordinate ids: whatever a step changes belongs to root in the image, it can give nothing to another user, and make no device nodes";
const PROOT =
  "steps run below proot: what one makes as another user than its own is its own user's, device nodes that it makes cannot be opened, and steps are slower and see the build's processes";

const IN_PLACE =
  "steps run in the container's own /, with nothing between them and this build: tsbuild doctor says what would isolate them";

export interface StarterInput {
  /** The directory of the main context. */
  readonly context: string;
  readonly store: Store;
  readonly plans: readonly SolvePlan[];
  readonly cleanup: Cleanup;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** The worker of a build, while it has one. */
export interface WorkerStarter {
  /** Starts it at the first call; every call gives the same one, until it is let go. */
  readonly worker: () => Promise<Worker>;
  /** It has nothing to do for now, and ends beside what comes next. In place it stays, with what it keeps of "/". */
  readonly letGo: () => void;
}

/** `cleanup` ends the worker, also while it starts, and waits for one that was let go. */
export function workerStarter(
  options: BuildOptions,
  { context, store, plans, cleanup, emit, signal }: StarterInput,
): WorkerStarter {
  // Before anything is built, since it may be wrong.
  const inPlace = inPlaceOptions(options, [context, store.root]);
  const stop = new AbortController();
  const start = async (): Promise<Worker> => {
    const { driver = options.materialize === true ? "in-place" : "auto" } = options;
    return startWorker({
      driver,
      inPlace,
      staging: store.staging,
      layersDirectory: (idMap) => store.layersDirectory(idMap),
      cachesDirectory: (idMap) => store.cachesDirectory(idMap),
      admit: (owner, idMap) => store.admit(owner, idMap),
      abandoned: await leftovers(store),
      foreign: foreignArchitectures(plans),
      ...(options.layerMounts === undefined ? {} : { layerMounts: options.layerMounts }),
      signal: AbortSignal.any([signal, stop.signal]),
    });
  };
  const begin = (): Promise<Worker> => {
    const starting = start();
    const close = async (): Promise<void> => {
      stop.abort();
      const started = await starting.catch(() => undefined);
      await started?.[Symbol.asyncDispose]();
    };
    cleanup.use({ [Symbol.asyncDispose]: close });
    return starting.then((worker) => introduce(worker, options, emit));
  };
  let worker: Promise<Worker> | undefined;
  const end = async (): Promise<void> => {
    const idle = await worker;
    if (idle === undefined || idle.host.driver === "in-place") return;
    worker = undefined;
    await idle[Symbol.asyncDispose]();
  };
  return {
    worker: () => (worker ??= begin()),
    // Whoever asked for it has heard why there is none, and `cleanup` tells what went wrong at its end.
    letGo: () => void end().catch(() => undefined),
  };
}

/** Says what it is, and what it cannot do. @throws TsbuildError HOST_UNSUPPORTED when it may not lose anything */
async function introduce(worker: Worker, options: BuildOptions, emit: Emit): Promise<Worker> {
  const { driver: name, refused } = worker.host;
  if (options.strict === true) refuseLosses(name);
  const note = refused.map((one) => `${one.driver}: ${one.because}`).join("; ");
  emit({ type: "driver", name, ...(note === "" ? {} : { note }) });
  if (isSeenBySteps(worker.host)) await hide();
  const messages = name === "in-place" ? [IN_PLACE] : meaningless(options, name);
  for (const message of messages) emit({ type: "notice", message });
  const losses = lossesOf(name);
  if (losses !== undefined) emit({ type: "notice", message: losses });
  if (worker.host.memoryBytes !== undefined) {
    emit({ type: "notice", message: inMemory(worker.host.memoryBytes) });
  }
  return worker;
}

/** Whether this process, which holds the logins, is among those that a step finds in its /proc. */
function isSeenBySteps({ driver, sharesPids }: HostReport): boolean {
  return driver === "in-place" || driver === "proot" || sharesPids;
}

async function hide(): Promise<void> {
  const { hideThisProcess } = await import("../worker/hide.js");
  hideThisProcess();
}

/** What an image may lack, or have otherwise, whose steps run that way. */
function lossesOf(driver: DriverName): string | undefined {
  if (driver === "proot") return PROOT;
  return driver.startsWith("single-id") ? SINGLE_ID : undefined;
}

function refuseLosses(driver: DriverName): void {
  const losses = lossesOf(driver);
  if (losses === undefined) return;
  throw new TsbuildError(
    "HOST_UNSUPPORTED",
    `tried to run steps with the driver ${driver}: ${losses}`,
    {
      hint: "without --strict it is a notice",
    },
  );
}

function meaningless(options: BuildOptions, driver: string): readonly string[] {
  const flags = [
    ...withoutMeaning(options),
    ...(options.materialize === true ? ["--materialize"] : []),
  ];
  if (flags.length === 0) return [];
  const be = flags.length === 1 ? "makes" : "make";
  return [`${flags.join(", ")} ${be} no difference: the driver ${driver} leaves / alone`];
}

function inMemory(bytes: number): string {
  const size = `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  return `the store's filesystem takes no overlay, so what steps write is kept in memory, up to ${size}: with --store on a volume, in a Pod an emptyDir, it is not`;
}

/** Those of the stages that run something, but for this machine's. */
function foreignArchitectures(plans: readonly SolvePlan[]): readonly string[] {
  const found = plans.flatMap(({ plan, options }) =>
    [...plan.stages.values()]
      .filter(({ stage }) => stage.instructions.some(({ kind }) => kind === "RUN"))
      .map(({ platform = options.targetPlatform }) => platform.architecture)
      .filter((architecture) => architecture !== options.buildPlatform.architecture),
  );
  return [...new Set(found)];
}

/** What dead builds left and only the namespace of its owners can delete; the rest is deleted here. */
async function leftovers(store: Store): Promise<readonly string[]> {
  const stubborn: string[] = [];
  for (const path of await store.abandoned()) {
    if (!(await removeTree(path))) stubborn.push(path);
  }
  return stubborn;
}
