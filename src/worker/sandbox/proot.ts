import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { errnoOf, TsbuildError } from "../../errors.js";
import { entryPath } from "../../internal/entry.js";
import { hideProcess } from "../linux/dumpable.js";
import { loadLibc } from "../linux/libc.js";
import { type NotifyCalls, openNotifyCalls } from "../linux/notify.js";
import { removeTreeSync, unlockTree } from "../root-remove.js";
import type { Given, Intents } from "../snapshot/intents.js";
import type { RootMount } from "../snapshot/types.js";
import { ownerFilter } from "./call-filter.js";
import { intentsWith } from "./mount-intents.js";
import { REPORT_FD } from "./init-protocol.js";
import { removeMade, resolveInRoot, type MadePoint } from "./mount-points.js";
import type { NamespaceOptions } from "./namespace.js";

import { type OwnerThreadOrder, watchOwners } from "./owners.js";
import { type Bind, makeBinds } from "./proot-binds.js";
import { findInStep } from "./proot-find.js";
import type { ProotOrder } from "./proot-order.js";
import { findProot, type ProotProgram } from "./proot-program.js";
import { openReport } from "./proot-report.js";
import { starterFile } from "./proot-starter.js";
import type { PathSpace } from "./step-paths.js";
import { endStrays, parseStat } from "./strays.js";
import type { ExitStatus, Sandbox, SandboxSpec, StepListener } from "./types.js";

export interface ProotSandboxOptions extends Pick<NamespaceOptions, "scratch" | "env" | "calls"> {
  /** Says what is lost. */
  readonly notice?: (message: string) => void;
}

const WITHOUT_OWNERS =
  "this kernel hands no system calls on (seccomp user notification, Linux 5.0): what the step gives to other users belongs to its own, and device nodes and file capabilities that it makes are lost";
/** Between two looks at whether the command goes on. */
const WATCH_MS = 50;
/** SECCOMP_FILTER_FLAG_NEW_LISTENER */
const NEW_LISTENER = 8;
const LOADERS = "/tmp";
/** In the step's /dev, which no layer holds. */
const STARTER = ".tsbuild";

interface Step {
  readonly spec: SandboxSpec;
  /** The root's directory. */
  readonly root: string;
  readonly intents: Intents;
  /** Of this step alone. */
  readonly scratch: string;
  readonly on: StepListener;
  readonly signal: AbortSignal;
}

/**
 * Runs each step below proot, which follows its system calls and puts paths of the root in the place of those that it
 * names. It keeps nobody out of anything: programs that know of it can leave, and steps see the processes of the build.
 */
export function createProotSandbox(options: ProotSandboxOptions): Sandbox {
  const { calls, env, scratch } = options;
  const living = new Set<number>();
  const running = new Set<Promise<unknown>>();
  const closing = new AbortController();
  let program: Promise<ProotProgram> | undefined;
  const notify = openNotifyCalls(loadLibc());
  let steps = 0;
  // Steps are of the same user.
  hideProcess(loadLibc());
  // Nothing of a step escapes by leaving its parents.
  calls.process.adoptOrphans();
  const prepare = async (): Promise<ProotProgram> => {
    const found = await findProot({ path: env["PATH"] ?? "", scratch });
    if (!("because" in found)) return found;
    throw new TsbuildError("HOST_UNSUPPORTED", `tried to run a step: ${found.because}`);
  };
  return {
    name: "proot",
    run: async (spec, root, on, signal) => {
      program ??= prepare();
      const both = AbortSignal.any([signal, closing.signal]);
      const place = `${scratch}/step-${steps++}`;
      const started = runStep(
        {
          spec,
          root: directoryOf(root),
          intents: intentsOf(root),
          scratch: place,
          on,
          signal: both,
        },
        { ...options, program: await program, notify, living },
      );
      running.add(started);
      try {
        const { status, given } = await started;
        if (root.kind === "directory") root.tellOwners?.({ uid: spec.uid, gid: spec.gid }, given);
        return status;
      } finally {
        running.delete(started);
      }
    },
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await Promise.allSettled(running);
    },
  };
}

function intentsOf(root: RootMount): Intents {
  return (root.kind === "directory" ? root.intents : undefined) ?? new Map();
}

function directoryOf(root: RootMount): string {
  if (root.kind === "directory") return root.path;
  throw new TsbuildError("INTERNAL", "tried to run a step below proot: its root is no directory");
}

interface StepTools extends ProotSandboxOptions {
  readonly program: ProotProgram;
  readonly notify: NotifyCalls;
  /** Processes that were started here and go on. */
  readonly living: Set<number>;
}

interface Ended {
  readonly status: ExitStatus;
  /** By inode number. */
  readonly given: ReadonlyMap<bigint, Given>;
}

async function runStep(step: Step, tools: StepTools): Promise<Ended> {
  const { spec, root, scratch, on, signal } = step;
  if (signal.aborted) throw stopped();
  if (spec.network === "none") {
    throw new TsbuildError(
      "HOST_UNSUPPORTED",
      "tried to run a step without a network: proot cannot",
      {
        hint: "it takes user namespaces, which this host or its seccomp profile refuses",
      },
    );
  }
  const { files } = tools.calls;
  const made: MadePoint[] = [];
  mkdirSync(scratch, { mode: 0o700 });
  try {
    const binds = makeBinds(spec, { root, scratch, files }, made);
    makeDirectory(spec.cwd, root, binds);
    const space = spaceOf(root, binds);
    const known = intentsWith(step.intents, spec.mounts, binds);
    const command = findInStep(spec, space);
    const run = (keepsOwners: boolean): Promise<Ended | "refused"> => {
      const order = orderOf(step, command, { binds, program: tools.program, keepsOwners });
      return execute(order, space, { ...step, intents: known }, tools);
    };
    const ended = await run(true);
    if (ended !== "refused") return ended;
    // Nothing of the step has run.
    tools.notice?.(WITHOUT_OWNERS);
    const second = await run(false);
    if (second !== "refused") return second;
    throw new TsbuildError("HOST_UNSUPPORTED", "tried to run a step: proot's first program failed");
  } finally {
    on.restored?.(removeMade(root, made, files));
    unlockTree(scratch);
    removeTreeSync(scratch);
  }
}

/** By real paths, since these are what the kernel gives for the directories of processes. */
function spaceOf(root: string, binds: readonly Bind[]): PathSpace {
  return {
    root: realpathSync(root),
    binds: binds.map(({ source, path }) => ({ source: realpathSync(source), path })),
  };
}

/** The step's working directory, which stays. */
function makeDirectory(cwd: string, root: string, binds: readonly Bind[]): void {
  const { path, exists } = resolveInRoot(root, cwd);
  if (exists || binds.some((bind) => path.startsWith(`${bind.path}/`))) return;
  mkdirSync(`${root}/${path}`, { recursive: true, mode: 0o755 });
}

interface Way {
  readonly binds: readonly Bind[];
  readonly program: ProotProgram;
  /** Whether what the step gives away is written down. */
  readonly keepsOwners: boolean;
}

function orderOf(
  { spec, root, scratch }: Step,
  command: string,
  { binds, program, keepsOwners }: Way,
): ProotOrder {
  const user = spec.uid === 0 && spec.gid === 0 ? ["-0"] : ["-i", `${spec.uid}:${spec.gid}`];
  const places = binds.flatMap(({ source, path }) => ["-b", `${source}:/${path}`]);
  const options = ["-v", "-1", ...user, "-r", root, ...places, "-w", spec.cwd];
  const own = variablesOf(program.env);
  const theirs = variablesOf(spec.env);
  const instructions = keepsOwners ? ownerFilter() : undefined;
  const filter =
    instructions === undefined ? {} : { filter: { instructions, flags: NEW_LISTENER } };
  const file = starterFile({ skip: own.length, keep: theirs.length, ...filter });
  writeFileSync(`${scratch}/dev/${STARTER}`, file, { mode: 0o755 });
  return {
    program: program.path,
    argv: ["proot", ...options, `/dev/${STARTER}`, command, ...spec.argv],
    env: [...own, ...theirs],
    listens: instructions !== undefined,
    limits: spec.limits ?? [],
  };
}

function variablesOf(env: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}

async function execute(
  order: ProotOrder,
  space: PathSpace,
  { spec, intents, on, signal }: Step,
  { calls, env, living, notify }: StepTools,
): Promise<Ended | "refused"> {
  const [stdout, stdoutWrite] = calls.process.pipe();
  const [stderr, stderrWrite] = calls.process.pipe();
  const watch = watchOwners({ space, intents, name: spec.hostname, user: userOf(spec) }, notify);
  const child = start(env, [stdoutWrite, stderrWrite, watch.stepEnd]);
  for (const fd of [stdoutWrite, stderrWrite, watch.stepEnd]) closeSync(fd);
  const { pid } = child;
  if (pid !== undefined) living.add(pid);
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  const report = openReport(child.stdio[REPORT_FD]);
  const looking = setInterval(() => endAfter(child, report.pid()), WATCH_MS);
  const end = async (): Promise<ExitStatus> => {
    const status = await endOf(child);
    clearInterval(looking);
    if (pid !== undefined) living.delete(pid);
    // If proot was killed, what it ran is left, and holds the pipes.
    await endStrays(() => living, calls.process);
    return status;
  };
  try {
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(JSON.stringify(order));
    const outputs = Promise.all([
      forward("stdout", readEnd(stdout), on),
      forward("stderr", readEnd(stderr), on),
    ]).catch((error: unknown) => {
      kill();
      throw error;
    });
    const [status, owners] = await Promise.all([end(), watch.report, report.ended, outputs]);
    if (signal.aborted) throw stopped();
    const failure = report.failure(spec);
    // The filters, which not every kernel takes, come before everything else.
    if (failure !== undefined && order.listens && !owners.worked) return "refused";
    if (failure !== undefined) throw failure;
    return { status, given: owners.given };
  } finally {
    signal.removeEventListener("abort", kill);
    kill();
    await end();
    if (pid !== undefined) removeLoaders(pid);
  }
}

/** What a proot that was killed leaves: older ones put their loader there, whatever they are told. */
function removeLoaders(proot: number): void {
  const names = existsSync(LOADERS) ? readdirSync(LOADERS) : [];
  for (const name of names) {
    if (name.startsWith(`prooted-${proot}-`)) removeOwn(`${LOADERS}/${name}`);
  }
}

/** One of the same name may be of another user whose process had that number. */
function removeOwn(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "ENOENT" && errno !== "EPERM" && errno !== "EACCES") throw error;
  }
}

/**
 * Once the command has ended, what it started ends: the processes below proot, which waits for them all. Its own
 * option for that is younger than many an installed one.
 */
function endAfter({ pid: proot }: ChildProcess, command: number | undefined): void {
  if (proot === undefined || command === undefined || isAlive(command)) return;
  for (const child of childrenOf(proot)) kill(child);
}

function isAlive(pid: number): boolean {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"))?.isDead === false;
  } catch {
    return false;
  }
}

function childrenOf(pid: number): readonly number[] {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
    return list.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended meanwhile.
  }
}

function userOf({ uid, gid, groups }: SandboxSpec): OwnerThreadOrder["user"] {
  const [realUid, realGid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  return { uid, gid, groups, realUid, realGid };
}

function start(
  env: Readonly<Record<string, string>>,
  [stdout, stderr, socket]: readonly [number, number, number],
): ChildProcess {
  return spawn(process.execPath, ["--v8-pool-size=0", entryPath("worker/sandbox/proot-init.cjs")], {
    // A session of its own: no terminal, and no signal that is meant for the builder's group.
    detached: true,
    cwd: "/",
    env: { ...env, UV_THREADPOOL_SIZE: "1" },
    stdio: ["pipe", stdout, stderr, "pipe", socket],
  });
}

async function endOf(child: ChildProcess): Promise<ExitStatus> {
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    await once(child, "exit");
  }
  return child.signalCode === null
    ? { kind: "exited", code: child.exitCode ?? -1 }
    : { kind: "signalled", signal: child.signalCode };
}

function readEnd(fd: number): Readable {
  return new Socket({ fd, readable: true, writable: false });
}

async function forward(
  stream: "stdout" | "stderr",
  from: Readable,
  on: StepListener,
): Promise<void> {
  for await (const chunk of from) {
    if (chunk instanceof Uint8Array) await on.output({ stream, chunk });
  }
}

function stopped(): TsbuildError {
  return new TsbuildError("ABORTED", "tried to run a step: the build was stopped");
}
