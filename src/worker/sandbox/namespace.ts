import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { Socket } from "node:net";
import { messageOf, TsbuildError } from "../../errors.js";
import { entryCommand } from "../../internal/entry.js";
import type { FileCalls } from "../linux/files.js";
import { addonArguments } from "../linux/libc.js";
import { CLONE, type ProcessCalls } from "../linux/process.js";
import type { RootMount } from "../snapshot/types.js";
import { encodeOrder, REPORT_FD, type Report } from "./init-protocol.js";
import { removeMade } from "./mount-points.js";
import { endStrays } from "./strays.js";
import type { ExitStatus, ProcessOutput, SandboxSpec, Sandbox, StepListener } from "./types.js";

/** A failed init says one line; the longest holds a path or two. */
const MAX_REPORT = 64 * 1024; // bytes

/** An init does one thing after the other, and execve has to end every other thread of it first. */
const FEW_THREADS = ["--v8-pool-size=0"];

export interface NamespaceOptions {
  /** An empty directory that stays empty: each step covers it with its own tmpfs. */
  readonly scratch: string;
  /** Options of overlay mounts that this kernel takes. */
  readonly overlayOptions: string;
  readonly singleId: boolean;
  /** Steps have no pid namespace of their own, since no /proc of one can be mounted here. */
  readonly sharesPids?: boolean;
  /**
   * Steps have no namespaces and no root of their own at all. None is started ahead: it could be tampered with by the
   * step before it.
   */
  readonly here?: boolean;
  /** Environment of the waiting processes; nothing of it reaches a step. */
  readonly env: Readonly<Record<string, string>>;
  readonly calls: { readonly process: ProcessCalls; readonly files: FileCalls };
}

/** A process that waits as the first one of its pid namespace. */
interface Init {
  readonly child: ChildProcess;
  readonly order: Writable;
  readonly report: Readable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Settled when the kernel has killed everything in the namespace and the process is reaped. */
  readonly ended: Promise<ExitStatus>;
}

/** Pids of the processes that were started here and go on, with what they started. */
type Living = Set<number>;

/**
 * Runs each step in fresh pid, mount, uts, ipc and cgroup namespaces. Starting Node takes longer than most commands,
 * so the next step's first process is started while the current one runs.
 */
export function createNamespaceSandbox(options: NamespaceOptions): Sandbox {
  const alive = new Set<Init>();
  const living: Living = new Set();
  let waiting: Init | undefined;
  let isClosed = false;
  const start = (): Init => {
    const init = startInit(options, living);
    alive.add(init);
    void init.ended.finally(() => alive.delete(init)).catch(() => undefined);
    return init;
  };
  const take = (): Init => {
    // One that was killed from outside is of no use.
    const init = waiting !== undefined && alive.has(waiting) ? waiting : start();
    waiting = undefined;
    return init;
  };
  const ahead = options.here !== true;
  if (ahead) waiting = start();
  return {
    name: "namespace",
    run: async (spec, root, on, signal) => {
      if (isClosed) throw new TsbuildError("INTERNAL", "tried to run a step in a closed sandbox");
      throwIfAborted(signal);
      const init = take();
      const running = runStep(init, { spec, root, on, signal }, options);
      if (ahead) waiting ??= start();
      return running;
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      const ends = [...alive].map((init) => {
        kill(init);
        return init.ended;
      });
      await Promise.all(ends);
    },
  };
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted)
    throw new TsbuildError("ABORTED", "tried to run a step: the build was stopped");
}

function startInit({ env, calls, sharesPids }: NamespaceOptions, living: Living): Init {
  const home = sharesPids === true ? undefined : openSync("/proc/self/ns/pid", "r");
  const [stdoutEnd, stdoutWrite] = calls.process.pipe();
  const [stderrEnd, stderrWrite] = calls.process.pipe();
  try {
    if (home !== undefined) calls.process.unshare(CLONE.NEWPID);
    try {
      const child = spawn(
        process.execPath,
        [...FEW_THREADS, ...entryCommand("worker/sandbox/init.cjs"), ...addonArguments()],
        {
          // A session of its own: no terminal, and no signal that is meant for the builder's group.
          detached: true,
          cwd: "/",
          env: { ...env, UV_THREADPOOL_SIZE: "1" },
          stdio: ["pipe", stdoutWrite, stderrWrite, "pipe"],
        },
      );
      const init = describeInit(child, readEnd(stdoutEnd), readEnd(stderrEnd));
      return home === undefined ? endingStrays(init, living, calls.process) : init;
    } finally {
      if (home !== undefined) calls.process.setns(home, CLONE.NEWPID);
    }
  } finally {
    for (const fd of [stdoutWrite, stderrWrite]) closeSync(fd);
    if (home !== undefined) closeSync(home);
  }
}

/** Without a pid namespace the end of the first process ends nothing else: whatever it leaves is killed here. */
function endingStrays(init: Init, living: Living, calls: ProcessCalls): Init {
  const { pid } = init.child;
  if (pid === undefined) return init;
  living.add(pid);
  const ended = init.ended.then(async (status) => {
    living.delete(pid);
    await endStrays(() => living, calls);
    return status;
  });
  return { ...init, ended };
}

function readEnd(fd: number): Readable {
  return new Socket({ fd, readable: true, writable: false });
}

function describeInit(child: ChildProcess, stdout: Readable, stderr: Readable): Init {
  const order = child.stdin;
  const report = child.stdio[REPORT_FD];
  if (order === null || !(report instanceof Socket)) {
    throw new TsbuildError("INTERNAL", "tried to start a step's first process: it has no pipes");
  }
  // EPIPE when the process was killed before it read; `ended` tells.
  order.on("error", () => undefined);
  const ended = new Promise<ExitStatus>((resolve) => {
    child.once("error", () => resolve({ kind: "exited", code: -1 }));
    child.once("exit", (code, signal) => {
      resolve(
        signal === null ? { kind: "exited", code: code ?? -1 } : { kind: "signalled", signal },
      );
    });
  });
  return { child, order, report, stdout, stderr, ended };
}

/** Killing the first process of a pid namespace kills all of them; without one, its end makes the others strays. */
function kill({ child }: Init): void {
  child.kill("SIGKILL");
}

interface Step {
  readonly spec: SandboxSpec;
  readonly root: RootMount;
  readonly on: StepListener;
  readonly signal: AbortSignal;
}

async function runStep(init: Init, step: Step, options: NamespaceOptions): Promise<ExitStatus> {
  const { spec, root, on, signal } = step;
  const abort = (): void => kill(init);
  signal.addEventListener("abort", abort, { once: true });
  const { scratch, overlayOptions, singleId, sharesPids = false, here = false } = options;
  const reported = readReport(init.report);
  let status: ExitStatus;
  let report: Report | undefined;
  try {
    const place = { root, scratch, overlayOptions, singleId, sharesPids, here };
    init.order.end(encodeOrder({ process: spec, ...place }));
    const outputs = Promise.all([
      forward("stdout", init.stdout, on),
      forward("stderr", init.stderr, on),
    ]).catch((error: unknown) => {
      kill(init);
      throw error;
    });
    [status, report] = await Promise.all([init.ended, reported, outputs]);
  } finally {
    signal.removeEventListener("abort", abort);
    // Whatever failed: nothing of the step may live on.
    kill(init);
    await init.ended;
    report ??= await reported;
    if (report !== undefined) {
      const changed = root.kind === "overlay" ? root.upper : root.path;
      const restored = removeMade(changed, report.made, options.calls.files);
      if (root.kind === "directory") on.restored?.(restored);
    }
  }
  throwIfAborted(signal);
  return outcome(status, report);
}

function outcome(status: ExitStatus, report: Report | undefined): ExitStatus {
  if (report === undefined) {
    const how = status.kind === "exited" ? `exit code ${status.code}` : status.signal;
    throw new TsbuildError("INTERNAL", `tried to start a step: its first process ended by ${how}`);
  }
  if (report.kind === "executing") return status;
  throw new TsbuildError(report.code, report.message, {
    ...(report.hint === undefined ? {} : { hint: report.hint }),
    ...(report.exitCode === undefined ? {} : { exitCode: report.exitCode }),
  });
}

async function forward(
  stream: ProcessOutput["stream"],
  from: Readable,
  on: StepListener,
): Promise<void> {
  for await (const chunk of from) {
    if (!(chunk instanceof Uint8Array)) continue;
    await on.output({ stream, chunk });
  }
}

/** The last line that the init wrote; `undefined` when it was killed before it wrote one. Never rejects. */
async function readReport(from: Readable): Promise<Report | undefined> {
  let text = "";
  try {
    for await (const chunk of from) {
      text += String(chunk);
      if (text.length > MAX_REPORT) break;
    }
    const line = text.trimEnd().split("\n").at(-1) ?? "";
    return line === "" ? undefined : (JSON.parse(line) as Report);
  } catch (error) {
    const message = `tried to read what a step's first process says: ${messageOf(error)}`;
    return { kind: "failed", code: "INTERNAL", message, made: [] };
  }
}
