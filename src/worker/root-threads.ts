import { stat } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { ERROR_CODES, type ErrorCode, TsbuildError } from "../errors.js";
import { entryCommand, entryPath } from "../internal/entry.js";
import { addonArguments } from "./linux/libc.js";
import { HashBeside } from "./root-hash.js";
import type { RootFailure, RootJobs, RootReply, RootRequest } from "./root-jobs.js";

const ENTRY = "worker/root-thread.cjs";
/** Two layers at a time: more do not help on one disk, and each thread costs 10 MB. */
const MAX_THREADS = 2;
/** A thread that does not stop by itself by then, deep in synchronous calls, is ended. */
const ABORT_GRACE_MS = 1500;
/**
 * MiB. What jobs keep in JavaScript values is small; records of scans are outside of this heap. Young values die at
 * once: room for more of them costs each thread some 7 MB and gains no time.
 */
const HEAP = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 2 };

export interface RunOptions {
  /** Buffers of the job that move instead of being copied. */
  readonly transfer?: readonly ArrayBuffer[];
  /** Hash in a second thread: there is much, or there may be. Absent: in place. */
  readonly hashBeside?: "at once" | "when much";
}

/** Threads that do jobs inside roots, started when needed, a few at a time. */
export interface RootThreads extends AsyncDisposable {
  /** @throws TsbuildError as the job does; ABORTED when `signal` says so. */
  run<K extends keyof RootJobs>(
    kind: K,
    job: Omit<RootJobs[K]["job"], "kind">,
    signal: AbortSignal,
    options?: RunOptions,
  ): Promise<RootJobs[K]["result"]>;
  /** Starts one ahead of its first job, which waits for it. Never fails: the job says why no thread can be had. */
  warm(): Promise<void>;
}

/** @param most Jobs that may go on at once. */
export function openRootThreads(file?: string, most: number = MAX_THREADS): RootThreads {
  return new Threads(file, most);
}

class Threads implements RootThreads {
  readonly #file: string;
  readonly #command: readonly string[];
  readonly #idle: Worker[] = [];
  readonly #all = new Set<Worker>();
  readonly #waiting: (() => void)[] = [];
  readonly #most: number;
  #busy = 0;
  /** Started ahead, until it is ready or a job waits for it. */
  #warming: Promise<Worker> | undefined;

  constructor(file: string | undefined, most: number) {
    this.#file = file ?? entryPath(ENTRY);
    this.#command = file === undefined ? entryCommand(ENTRY) : [file];
    this.#most = most;
  }

  async warm(): Promise<void> {
    if (this.#all.size > 0 || this.#warming !== undefined) return;
    const warming = this.#start();
    this.#warming = warming;
    const thread = await warming.catch(() => undefined);
    if (this.#warming !== warming) return;
    this.#warming = undefined;
    if (thread !== undefined) this.#idle.push(thread);
  }

  async run<K extends keyof RootJobs>(
    kind: K,
    job: Omit<RootJobs[K]["job"], "kind">,
    signal: AbortSignal,
    { transfer = [], hashBeside }: RunOptions = {},
  ): Promise<RootJobs[K]["result"]> {
    await this.#turn();
    try {
      if (signal.aborted) throw abortError(kind, signal);
      const thread = this.#idle.pop() ?? (await this.#next());
      // Starting took a while; a listener would not hear of what has happened already.
      if (signal.aborted) {
        this.#idle.push(thread);
        throw abortError(kind, signal);
      }
      await using hash = hashBeside === undefined ? undefined : new HashBeside(this.#file);
      if (hashBeside === "at once") hash?.start();
      const hashing = hash === undefined ? {} : { hashing: hash.order };
      const request = { type: "job", job: { ...job, kind }, ...hashing } as RootRequest;
      const onHash = (): void => hash?.start();
      const reply = await converse(thread, request, { transfer, signal, onHash });
      if (reply.type === "lost") await this.#end(thread);
      else this.#idle.push(thread);
      if (reply.type === "done") return reply.result as RootJobs[K]["result"];
      if (signal.aborted) throw abortError(kind, signal);
      throw reply.error;
    } finally {
      this.#busy--;
      this.#waiting.shift()?.();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#warming?.catch(() => undefined);
    await Promise.all([...this.#all].map((thread) => this.#end(thread)));
  }

  async #turn(): Promise<void> {
    while (this.#busy >= this.#most) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#busy++;
  }

  #next(): Promise<Worker> {
    const warming = this.#warming;
    this.#warming = undefined;
    return warming ?? this.#start();
  }

  async #start(): Promise<Worker> {
    // libuv starts its pool with the first asynchronous call, and the pool's threads share the root of the thread that
    // makes it: it has to be this one, never one that is inside a root.
    await stat("/");
    const [program = "", ...argv] = this.#command;
    const thread = new Worker(program, {
      // The defaults of the process may name files to load, which are outside of the roots.
      execArgv: [],
      argv: [...argv, ...addonArguments()],
      resourceLimits: HEAP,
    });
    this.#all.add(thread);
    thread.once("exit", () => {
      this.#all.delete(thread);
      const at = this.#idle.indexOf(thread);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    const { promise, settle } = firstReply(thread);
    const reply = await promise;
    settle();
    thread.unref();
    if (reply.type === "ready") return thread;
    await this.#end(thread);
    throw reply.type === "failed"
      ? revive(reply.error)
      : new TsbuildError("INTERNAL", "tried to start a root thread: it ended at once");
  }

  async #end(thread: Worker): Promise<void> {
    this.#all.delete(thread);
    await thread.terminate();
  }
}

type Answer =
  | { readonly type: "done"; readonly result: unknown }
  | { readonly type: "failed"; readonly error: Error }
  | { readonly type: "lost"; readonly error: Error };

interface Conversation {
  readonly transfer: readonly ArrayBuffer[];
  readonly signal: AbortSignal;
  /** The job asks for the thread that hashes. */
  readonly onHash: () => void;
}

async function converse(
  thread: Worker,
  request: RootRequest,
  { transfer, signal, onHash }: Conversation,
): Promise<Answer> {
  let grace: NodeJS.Timeout | undefined;
  const abort = (): void => {
    thread.postMessage({ type: "abort" } satisfies RootRequest);
    grace = setTimeout(() => void thread.terminate(), ABORT_GRACE_MS);
  };
  const { promise, settle } = firstReply(thread, onHash);
  thread.ref();
  signal.addEventListener("abort", abort, { once: true });
  try {
    thread.postMessage(request, transfer);
    const reply = await promise;
    if (reply.type === "done") return reply;
    if (reply.type === "failed") return { type: "failed", error: revive(reply.error) };
    const error = reply.type === "ended" ? reply.error : undefined;
    return {
      type: "lost",
      error: new TsbuildError("INTERNAL", "tried to work inside a root: the thread ended", {
        cause: error,
      }),
    };
  } finally {
    clearTimeout(grace);
    signal.removeEventListener("abort", abort);
    settle();
    thread.unref();
  }
}

type Reply = Exclude<RootReply, { readonly type: "hash" }>;

/** The next thing that the thread says for good, or its end. */
function firstReply(
  thread: Worker,
  onHash?: () => void,
): {
  readonly promise: Promise<Reply | { readonly type: "ended"; readonly error: unknown }>;
  readonly settle: () => void;
} {
  let settle = (): void => undefined;
  const promise = new Promise<Reply | { readonly type: "ended"; readonly error: unknown }>(
    (resolve) => {
      let failure: unknown;
      const onMessage = (reply: RootReply): void => {
        if (reply.type === "hash") onHash?.();
        else resolve(reply);
      };
      const onError = (error: unknown): void => {
        failure = error;
      };
      const onExit = (): void => resolve({ type: "ended", error: failure });
      thread.on("message", onMessage).on("error", onError).on("exit", onExit);
      settle = () => {
        thread.off("message", onMessage).off("error", onError).off("exit", onExit);
      };
    },
  );
  return { promise, settle };
}

function abortError(kind: string, signal: AbortSignal): TsbuildError {
  return new TsbuildError("ABORTED", `tried to ${kind} a layer: stopped`, { cause: signal.reason });
}

/** Our own codes become our own error again; anything else is a failure of the disk or ours. */
function revive(failure: RootFailure): TsbuildError {
  const { code, message, hint, stack } = failure;
  const cause = stack === undefined ? undefined : new Error(stack);
  if (code !== undefined && Object.hasOwn(ERROR_CODES, code)) {
    return new TsbuildError(code as ErrorCode, message, {
      ...(hint === undefined ? {} : { hint }),
      cause,
    });
  }
  return new TsbuildError("STORE_FAILED", `tried to work inside a root: ${message}`, { cause });
}
