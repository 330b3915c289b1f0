import type { ChildProcess } from "node:child_process";
import { TsbuildError } from "../errors.js";
import type { SpawnedChild } from "./namespaces.js";
import { fromWire, type Answers, type FromChild, type Request, type ToChild } from "./protocol.js";
import { endNamespace } from "./sandbox/strays.js";
import type { ProcessOutput } from "./sandbox/types.js";
import type { HostReport, View, Worker } from "./types.js";

/** How long a worker may take to unmount and delete before it is killed, which unmounts too. */
const CLOSE_TIMEOUT_MS = 30_000;
const WORKER_VIEWS = 64;

/** The front process's end of the conversation with `child.ts`. */
export interface Client extends AsyncDisposable {
  /** @throws TsbuildError what the worker threw; ABORTED, once the worker has stopped; INTERNAL when the worker died */
  ask<R extends Request>(
    request: R,
    signal: AbortSignal,
    onOutput?: (output: ProcessOutput) => void,
  ): Promise<Answers[R["op"]]>;
  /** The worker's process is gone, and with it everything that a view could dispose of. */
  hasEnded(): boolean;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: TsbuildError) => void;
  readonly onOutput: ((output: ProcessOutput) => void) | undefined;
}

/** `namespace`: the user namespace of a worker without a pid namespace, whose end the kernel does not make that of its steps. */
export function openClient(
  { process: child, complaint }: SpawnedChild,
  namespace?: string,
): Client {
  const pending = new Map<number, Pending>();
  let lastId = 0;
  let isClosing = false;
  let death: TsbuildError | undefined;
  // Not "close": Node never emits it once this end has hung up first.
  const ended = exitOf(child).then(async (how) => {
    if (namespace !== undefined) await endNamespace(namespace);
    const said = complaint();
    const because = said === "" ? how : `${how}: ${said}`;
    death = new TsbuildError("INTERNAL", `tried to talk to the worker: it ended by ${because}`);
    for (const { reject } of pending.values()) reject(death);
    pending.clear();
  });
  child.on("message", (message: FromChild) => receive(message, pending));
  // A failed send; the "exit" event brings the reason.
  child.on("error", () => undefined);

  const ask = <R extends Request>(
    request: R,
    signal: AbortSignal,
    onOutput?: (output: ProcessOutput) => void,
  ): Promise<Answers[R["op"]]> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(new TsbuildError("ABORTED", `tried to ${request.op}: the build was stopped`));
        return;
      }
      if (death !== undefined) {
        reject(death);
        return;
      }
      const id = ++lastId;
      const cancel = (): void => send(child, { kind: "cancel", id });
      const settled = (): void => signal.removeEventListener("abort", cancel);
      pending.set(id, {
        // The worker answers each request with its own kind of answer.
        resolve: (value) => {
          settled();
          resolve(value as Answers[R["op"]]);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
        onOutput,
      });
      signal.addEventListener("abort", cancel, { once: true });
      send(child, { kind: "request", id, request });
    });

  const close = async (): Promise<void> => {
    if (isClosing) return ended;
    isClosing = true;
    const timer = setTimeout(() => child.kill("SIGKILL"), CLOSE_TIMEOUT_MS);
    await ask({ op: "close" }, new AbortController().signal).catch(() => undefined);
    if (child.connected) child.disconnect();
    await ended;
    clearTimeout(timer);
  };
  return { ask, hasEnded: () => death !== undefined, [Symbol.asyncDispose]: close };
}

/** Settles when the process is gone and its last words are read. */
async function exitOf(child: ChildProcess): Promise<string> {
  const silent = new Promise((resolve) => void child.stderr?.once("close", resolve));
  const how = await new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code ?? "unknown"}`));
  });
  await silent;
  return how;
}

function send(child: ChildProcess, message: ToChild): void {
  // A closed channel is no news: "exit" follows and settles everything.
  if (child.connected) child.send(message, () => undefined);
}

function receive(message: FromChild, pending: Map<number, Pending>): void {
  const request = pending.get(message.id);
  if (request === undefined) return;
  if (message.kind === "output") {
    request.onOutput?.(message.output);
    return;
  }
  pending.delete(message.id);
  if (message.kind === "answer") request.resolve(message.value);
  else request.reject(fromWire(message.error));
}

/** A worker whose stages live in the client's process. */
export function createWorker(client: Client, host: HostReport): Worker {
  // One for each question: stages ask at once, and Node would take many listeners for a leak.
  const never = (): AbortSignal => new AbortController().signal;
  return {
    host,
    maxViews: host.driver === "in-place" ? 1 : WORKER_VIEWS,
    prepare: async (layers, signal) => {
      const { view } = await client.ask({ op: "prepare", layers }, signal);
      return createView(client, view);
    },
    unpackAhead: (layers, signal) => client.ask({ op: "unpackAhead", layers }, signal),
    packCache: (key, options, signal) => client.ask({ op: "packCache", key, options }, signal),
    takeIndexes: () => client.ask({ op: "takeIndexes" }, never()),
    takeWarnings: () => client.ask({ op: "takeWarnings" }, never()),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

function createView(client: Client, view: number): View {
  const never = new AbortController().signal;
  return {
    add: (layer, signal) => client.ask({ op: "add", view, layer }, signal),
    run: (spec, on, signal) =>
      client.ask({ op: "run", view, spec }, signal, (output) => on.output(output)),
    seal: (options, signal) => client.ask({ op: "seal", view, options }, signal),
    [Symbol.asyncDispose]: async () => {
      if (!client.hasEnded()) await client.ask({ op: "dispose", view }, never);
    },
  };
}
