import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { TsbuildError } from "../../errors.js";
import { entryPath } from "../../internal/entry.js";
import { removeTreeSync, unlockTree } from "../root-remove.js";
import type { RootMount } from "../snapshot/types.js";
import { REPORT_FD } from "./init-protocol.js";
import { removeMade, resolveInRoot, type MadePoint } from "./mount-points.js";
import type { NamespaceOptions } from "./namespace.js";
import { type Bind, makeBinds } from "./proot-binds.js";
import { findInStep } from "./proot-find.js";
import type { ProotOrder } from "./proot-order.js";
import { findProot, type ProotProgram } from "./proot-program.js";
import { openReport } from "./proot-report.js";
import { starterFile } from "./proot-starter.js";
import { endStrays, parseStat } from "./strays.js";
import type { ExitStatus, Sandbox, SandboxSpec, StepListener } from "./types.js";

export type ProotSandboxOptions = Pick<NamespaceOptions, "scratch" | "env" | "calls">;

/** Between two looks at whether the command goes on. */
const WATCH_MS = 50;
/** In the step's /dev, which no layer holds. */
const STARTER = ".tsbuild";

interface Step {
  readonly spec: SandboxSpec;
  /** The root's directory. */
  readonly root: string;
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
  let steps = 0;
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
        { spec, root: directoryOf(root), scratch: place, on, signal: both },
        { ...options, program: await program, living },
      );
      running.add(started);
      try {
        if (root.kind === "directory") root.tellMaker?.({ uid: spec.uid, gid: spec.gid });
        return await started;
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

function directoryOf(root: RootMount): string {
  if (root.kind === "directory") return root.path;
  throw new TsbuildError("INTERNAL", "tried to run a step below proot: its root is no directory");
}

interface StepTools extends ProotSandboxOptions {
  readonly program: ProotProgram;
  /** Processes that were started here and go on. */
  readonly living: Set<number>;
}

async function runStep(step: Step, tools: StepTools): Promise<ExitStatus> {
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
    const command = findInStep(spec, root, binds);
    return await execute(orderOf(step, command, binds, tools.program), step, tools);
  } finally {
    on.restored?.(removeMade(root, made, files));
    unlockTree(scratch);
    removeTreeSync(scratch);
  }
}

/** The step's working directory, which stays. */
function makeDirectory(cwd: string, root: string, binds: readonly Bind[]): void {
  const { path, exists } = resolveInRoot(root, cwd);
  if (exists || binds.some((bind) => path.startsWith(`${bind.path}/`))) return;
  mkdirSync(`${root}/${path}`, { recursive: true, mode: 0o755 });
}

function orderOf(
  { spec, root, scratch }: Step,
  command: string,
  binds: readonly Bind[],
  program: ProotProgram,
): ProotOrder {
  const user = spec.uid === 0 && spec.gid === 0 ? ["-0"] : ["-i", `${spec.uid}:${spec.gid}`];
  const places = binds.flatMap(({ source, path }) => ["-b", `${source}:/${path}`]);
  const options = ["-v", "-1", ...user, "-r", root, ...places, "-w", spec.cwd];
  const own = variablesOf(program.env);
  const theirs = variablesOf(spec.env);
  const file = starterFile({ skip: own.length, keep: theirs.length });
  writeFileSync(`${scratch}/dev/${STARTER}`, file, { mode: 0o755 });
  return {
    program: program.path,
    argv: ["proot", ...options, `/dev/${STARTER}`, command, ...spec.argv],
    env: [...own, ...theirs],
    limits: spec.limits ?? [],
  };
}

function variablesOf(env: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}

async function execute(
  order: ProotOrder,
  { spec, on, signal }: Step,
  { calls, env, living }: StepTools,
): Promise<ExitStatus> {
  const [stdout, stdoutWrite] = calls.process.pipe();
  const [stderr, stderrWrite] = calls.process.pipe();
  const child = start(env, stdoutWrite, stderrWrite);
  for (const fd of [stdoutWrite, stderrWrite]) closeSync(fd);
  const { pid } = child;
  if (pid !== undefined) living.add(pid);
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  const report = openReport(child.stdio[REPORT_FD]);
  const watch = setInterval(() => endAfter(child, report.pid()), WATCH_MS);
  const end = async (): Promise<ExitStatus> => {
    const status = await endOf(child);
    clearInterval(watch);
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
    const [status] = await Promise.all([end(), report.ended, outputs]);
    if (signal.aborted) throw stopped();
    const failure = report.failure(spec);
    if (failure !== undefined) throw failure;
    return status;
  } finally {
    signal.removeEventListener("abort", kill);
    kill();
    await end();
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

function start(
  env: Readonly<Record<string, string>>,
  stdout: number,
  stderr: number,
): ChildProcess {
  return spawn(process.execPath, ["--v8-pool-size=0", entryPath("worker/sandbox/proot-init.js")], {
    // A session of its own: no terminal, and no signal that is meant for the builder's group.
    detached: true,
    cwd: "/",
    env: { ...env, UV_THREADPOOL_SIZE: "1" },
    stdio: ["pipe", stdout, stderr, "pipe"],
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
