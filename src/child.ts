// The worker's process. It starts inside the namespaces, as the first process of a pid namespace, and answers the
// front process over IPC. It holds no credentials and opens no sockets but those of steps that ask for one. When the front process goes, it goes, and the
// kernel kills every step and drops every mount.
import { mkdirSync } from "node:fs";
import { stat } from "node:fs/promises";
import { TsbuildError, unreachable } from "./errors.js";
import { type DiskUsage, measureTree } from "./internal/disk-usage.js";
import { openUses } from "./internal/in-use.js";
import { createEmulation, type Emulation } from "./worker/emulation/emulation.js";
import { fullMemory } from "./worker/memory-full.js";
import { createLayerHost } from "./worker/layer-host.js";
import type { LayerHost, Memory, StageRoot } from "./worker/layer-host-types.js";
import { packCache } from "./worker/made-mounts-cache.js";
import { prepareStep, type MadeMountTools } from "./worker/made-mounts.js";
import { openFileCalls, type FileCalls } from "./worker/linux/files.js";
import { loadLibc } from "./worker/linux/libc.js";
import { openLockCalls, type LockCalls } from "./worker/linux/lock.js";
import { openMountCalls, type MountCalls } from "./worker/linux/mount.js";
import { openProcessCalls, type ProcessCalls } from "./worker/linux/process.js";
import { probeInPlace } from "./worker/probe-in-place.js";
import { probeProot } from "./worker/probe-proot.js";
import { probeLayerMounts } from "./worker/probe-layer-mounts.js";
import { mountMemory, probeHere } from "./worker/probe.js";
import {
  toWire,
  type Answers,
  type FromChild,
  type ProbeReport,
  type Request,
  type ToChild,
} from "./worker/protocol.js";
import { reach } from "./worker/reach.js";
import { removeTreeSync } from "./worker/root-remove.js";
import { createInPlaceSandbox, type InPlaceSandboxOptions } from "./worker/sandbox/in-place.js";
import { createNamespaceSandbox } from "./worker/sandbox/namespace.js";
import { createProotSandbox } from "./worker/sandbox/proot.js";
import { endDescendants } from "./worker/sandbox/strays.js";
import type { ExitStatus, ProcessOutput, Sandbox } from "./worker/sandbox/types.js";

/** Everything that the process holds. */
interface State {
  readonly calls: {
    readonly process: ProcessCalls;
    readonly mounts: MountCalls;
    readonly files: FileCalls;
    readonly locks: LockCalls;
  };
  readonly roots: Map<number, StageRoot>;
  readonly running: Map<number, AbortController>;
  opened: Opened | undefined;
  lastView: number;
  /** Stops what goes on in the background. */
  readonly closing: AbortController;
}

interface Opened {
  readonly host: LayerHost;
  /** Where upper directories lie, if not in the staging directory. */
  readonly memory: Memory | undefined;
  readonly sandbox: Sandbox;
  readonly emulation: Emulation;
  readonly tools: MadeMountTools;
  /** What unpacking beside the host's own could not keep, for the next who asks. */
  readonly warnings: string[];
  /** Steps that go on: what was made for them has to be disposed of before the rest. */
  readonly steps: Set<Promise<unknown>>;
}

type Emit = (output: ProcessOutput) => Promise<void>;

function serve(): void {
  const libc = loadLibc();
  const state: State = {
    calls: {
      process: openProcessCalls(libc),
      mounts: openMountCalls(libc),
      files: openFileCalls(libc),
      locks: openLockCalls(libc),
    },
    roots: new Map(),
    running: new Map(),
    opened: undefined,
    lastView: 0,
    closing: new AbortController(),
  };
  process.on("disconnect", () => {
    // As the first process of a pid namespace it need not: the kernel does.
    if (process.pid !== 1) endDescendants(state.calls.process);
    process.exit();
  });
  process.on("message", (message: ToChild) => {
    if (message.kind === "cancel") state.running.get(message.id)?.abort();
    else void answer(state, message.id, message.request);
  });
}

async function answer(state: State, id: number, request: Request): Promise<void> {
  const controller = new AbortController();
  state.running.set(id, controller);
  try {
    const emit: Emit = (output) => send({ kind: "output", id, output });
    const value = await handle(state, request, controller.signal, emit);
    await send({ kind: "answer", id, value });
  } catch (error) {
    await send({ kind: "error", id, error: toWire(error) });
  } finally {
    state.running.delete(id);
  }
  if (request.op === "close") process.exit();
}

async function handle(
  state: State,
  request: Request,
  signal: AbortSignal,
  emit: Emit,
): Promise<Answers[Request["op"]]> {
  switch (request.op) {
    case "probe":
      return probe(request, state.calls);
    case "probeWithout":
      return request.driver === "in-place" ? probeInPlace(request) : probeProot(request);
    case "open":
      return open(state, request);
    case "prepare": {
      const root = await worker(state).host.prepare(request.layers, signal);
      const view = ++state.lastView;
      state.roots.set(view, root);
      return { view };
    }
    case "unpackAhead":
      await worker(state).host.unpackAhead(request.layers, signal);
      return undefined;
    case "add":
      await rootOf(state, request.view).add(request.layer, signal);
      return undefined;
    case "run": {
      const { steps } = worker(state);
      const step = run(state, request, signal, emit);
      steps.add(step);
      return step.finally(() => steps.delete(step));
    }
    case "seal":
      return rootOf(state, request.view).seal(request.options, signal);
    case "dispose":
      return dispose(state, request.view);
    case "packCache": {
      const { host, tools } = worker(state);
      const { key, options } = request;
      return packCache(key, tools, (path) => host.packDirectory(path, options, signal));
    }
    case "measure":
      reachStore(state, request);
      return measureAll(request.paths, signal);
    case "remove":
      reachStore(state, request);
      for (const path of request.paths) tryRemove(path);
      return undefined;
    case "takeIndexes":
      return worker(state).host.takeIndexes();
    case "takeWarnings":
      return takeWarnings(worker(state));
    case "close":
      return close(state);
    default:
      return unreachable(request);
  }
}

/** The first time only: after that it is there. */
function reachStore(state: State, { reach: store }: { readonly reach?: string }): void {
  if (store !== undefined) reach(store, state.calls.mounts);
}

async function measureAll(
  paths: readonly string[],
  signal: AbortSignal,
): Promise<readonly DiskUsage[]> {
  const found: DiskUsage[] = [];
  for (const path of paths) found.push(await measureTree(path, signal));
  return found;
}

function tryRemove(path: string): void {
  try {
    removeTreeSync(path);
  } catch {
    // Whoever asked looks whether it is gone.
  }
}

async function probe(
  request: Extract<Request, { op: "probe" }>,
  calls: State["calls"],
): Promise<ProbeReport> {
  const found = probeHere(request, calls);
  const { overlayOptions } = found;
  if (!request.layerMounts || overlayOptions === undefined) return found;
  const because = await probeLayerMounts({ ...request, overlayOptions }, calls);
  return {
    ...found,
    layers: because === undefined ? { kind: "mounted" } : { kind: "unpacked", because },
  };
}

async function open(state: State, request: Extract<Request, { op: "open" }>): Promise<undefined> {
  // The first use of the thread pool decides which root its threads see: here nobody has entered one.
  await stat("/");
  const scratch = `${request.staging}/scratch`;
  mkdirSync(scratch, { recursive: true });
  if (request.sharesPids) state.calls.process.adoptOrphans();
  const memory = openMemory(request, state.calls.mounts);
  // The front process saw to it that nothing else is in here; a step gets its own.
  const env = { PATH: process.env["PATH"] ?? "" };
  const host = createLayerHost({ ...request, ...memory });
  const warnings: string[] = [];
  const addWarnings = (lines: readonly string[]): void => void warnings.push(...lines);
  let names = 0;
  state.opened = {
    host,
    memory: memory.uppers,
    sandbox: createSandbox(request, {
      scratch,
      env,
      calls: state.calls,
      notice: (message) => addWarnings([message]),
    }),
    tools: {
      ...request,
      cachesDirectory: request.cachesDirectory,
      host,
      locks: state.calls.locks,
      uses: openUses(request.staging),
      stagingPath: (suffix) => `${request.staging}/mount-${names++}${suffix}`,
      addWarnings,
    },
    emulation: createEmulation({
      directory: `${request.staging}/emulation-${process.pid}`,
      path: env.PATH,
      mounts: state.calls.mounts,
      notice: (message) => addWarnings([message]),
    }),
    warnings,
    steps: new Set(),
  };
  void remove(state.opened.host, request.abandoned, state.closing.signal);
}

/** Where upper directories lie, if not in the staging directory: mounted before anything copies the mount namespace. */
function openMemory(
  { staging, memoryBytes }: Extract<Request, { op: "open" }>,
  mounts: MountCalls,
): { readonly uppers?: Memory } {
  if (memoryBytes === undefined) return {};
  const directory = `${staging}/memory`;
  mkdirSync(directory, { recursive: true });
  mountMemory(directory, memoryBytes, mounts);
  return { uppers: { directory, bytes: memoryBytes } };
}

function createSandbox(
  { driver, overlayOptions, singleId, sharesPids, inPlace }: Extract<Request, { op: "open" }>,
  tools: Omit<InPlaceSandboxOptions, "inPlace">,
): Sandbox {
  switch (driver) {
    case "in-place":
      return createInPlaceSandbox({ ...tools, inPlace });
    case "proot":
      return createProotSandbox(tools);
    case "overlay":
    case "plain":
      return createNamespaceSandbox({ ...tools, overlayOptions, singleId, sharesPids });
    default:
      return unreachable(driver);
  }
}

async function run(
  state: State,
  { view, spec }: Extract<Request, { op: "run" }>,
  signal: AbortSignal,
  emit: Emit,
): Promise<ExitStatus> {
  const { sandbox, tools, emulation, memory } = worker(state);
  const root = rootOf(state, view);
  const { architecture } = spec;
  const cannotRun = architecture === undefined ? undefined : await emulation.prepare(architecture);
  let restored: readonly string[] = [];
  const listener = {
    output: emit,
    restored: (directories: readonly string[]) => {
      restored = directories;
    },
  };
  await using step = await prepareStep(spec, tools, signal);
  const mount = root.begin();
  try {
    const told = cannotRun === undefined ? step.spec : { ...step.spec, cannotRun };
    const status = await sandbox.run(told, mount, listener, signal);
    const isDone = status.kind === "exited" && status.code === 0;
    const full = isDone || memory === undefined ? undefined : fullMemory(memory);
    if (full !== undefined) await emit({ stream: "stderr", chunk: Buffer.from(full) });
    return status;
  } finally {
    root.end(restored);
  }
}

async function dispose(state: State, view: number): Promise<undefined> {
  const root = rootOf(state, view);
  state.roots.delete(view);
  await root[Symbol.asyncDispose]();
}

async function takeWarnings({ host, warnings }: Opened): Promise<readonly string[]> {
  return [...(await host.takeWarnings()), ...warnings.splice(0)];
}

async function close(state: State): Promise<undefined> {
  for (const controller of [state.closing, ...state.running.values()]) controller.abort();
  await state.opened?.sandbox[Symbol.asyncDispose]();
  const steps: Iterable<Promise<unknown>> = state.opened?.steps ?? [];
  await Promise.allSettled(steps);
  for (const root of [...state.roots.values()].toReversed()) await root[Symbol.asyncDispose]();
  await state.opened?.host[Symbol.asyncDispose]();
}

function worker({ opened }: State): NonNullable<State["opened"]> {
  if (opened === undefined) throw new TsbuildError("INTERNAL", "the worker is not open yet");
  return opened;
}

function rootOf({ roots }: State, view: number): StageRoot {
  const root = roots.get(view);
  if (root === undefined) throw new TsbuildError("INTERNAL", `view ${view} was disposed`);
  return root;
}

/** Settles when the message is on its way: that holds back a step that writes faster than the front process reads. */
function send(message: FromChild): Promise<void> {
  return new Promise((resolve) => {
    // A closed channel needs no care: "disconnect" ends the process.
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, undefined, {}, () => resolve());
  });
}

/** What builds that were killed left behind. What cannot be removed is the next build's to try. */
async function remove(
  host: LayerHost,
  abandoned: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (const path of abandoned) {
    if (signal.aborted) return;
    await host.removeTree(path, signal).catch(() => undefined);
  }
}

serve();
