import { setMaxListeners } from "node:events";
import { TsbuildError, messageOf } from "./errors.js";
import { Channel } from "./internal/channel.js";
import type { BuildOptions, BuildResult } from "./build/options.js";
import { runBuild } from "./build/run-build.js";
import { runCheck } from "./build/run-check.js";
import { runExplain } from "./build/run-explain.js";
import { type BuildPlan, runPlan } from "./build/run-plan.js";
import type { Diagnostic } from "./dockerfile/types.js";
import type { ExplainedStep } from "./solver/cache/explained.js";
import type { BuildEvent } from "./solver/events.js";

/** A running build. Disposing it aborts it and waits until its processes, mounts and sockets are gone. */
export interface Build extends AsyncDisposable {
  /** To be read once. Output that nobody reads is dropped when it outgrows a bound; other events are kept. */
  readonly events: AsyncIterable<BuildEvent>;
  /** @throws TsbuildError; ABORTED when the signal or disposal stopped it. */
  readonly result: Promise<BuildResult>;
}

/** Bytes of events that wait for a reader. */
const EVENT_LIMIT = 16 * 1024 * 1024;
/** What an event weighs beside its output. */
const EVENT_WEIGHT = 256;

export function start(options: BuildOptions): Build {
  const stop = new AbortController();
  const signal =
    options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  // Whatever waits listens to it, and how much does is up to the Dockerfile; Node would take more than ten for a leak.
  setMaxListeners(0, signal);
  const events = new Channel<BuildEvent>({
    limit: EVENT_LIMIT,
    weigh: (event) => EVENT_WEIGHT + (event.type === "step-output" ? event.chunk.length : 0),
    key: (event) => (event.type === "transfer" ? event.id : undefined),
    canDrop: (event) => event.type === "step-output",
  });
  const run = async (): Promise<BuildResult> => {
    try {
      return await runBuild(
        options,
        (event) => events.push({ time: Date.now(), ...event } as BuildEvent),
        signal,
      );
    } catch (error) {
      throw signal.aborted ? aborted(error) : asTsbuildError(error);
    } finally {
      events.close();
    }
  };
  const result = run();
  // Whoever awaits the result sees the failure; a caller that only reads events must not crash the process.
  result.catch(() => undefined);
  return {
    events,
    result,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await result.catch(() => undefined);
    },
  };
}

/** Builds an image and pushes or writes it as the options say. */
export async function build(options: BuildOptions): Promise<BuildResult> {
  await using running = start(options);
  return await running.result;
}

/**
 * What the lint rules say of a Dockerfile, in the order of the file. Bases are looked up for it; nothing runs, and
 * nothing is pushed or written. @throws TsbuildError DOCKERFILE_INVALID when it cannot be built at all
 */
export async function check(options: BuildOptions): Promise<readonly Diagnostic[]> {
  const signal = options.signal ?? new AbortController().signal;
  try {
    return await runCheck(options, () => undefined, signal);
  } catch (error) {
    throw signal.aborted ? aborted(error) : asTsbuildError(error);
  }
}

/**
 * Which layers a build would take from the cache, and what has changed where it would not. Bases are looked up and files
 * are read for it; nothing runs, and nothing is kept.
 */
export async function explain(options: BuildOptions): Promise<readonly ExplainedStep[]> {
  const signal = options.signal ?? new AbortController().signal;
  try {
    return await runExplain(options, () => undefined, signal);
  } catch (error) {
    throw signal.aborted ? aborted(error) : asTsbuildError(error);
  }
}

/** What a build would make, take from the cache, push and write. It does none of it. */
export async function plan(options: BuildOptions): Promise<BuildPlan> {
  const signal = options.signal ?? new AbortController().signal;
  try {
    return await runPlan(options, () => undefined, signal);
  } catch (error) {
    throw signal.aborted ? aborted(error) : asTsbuildError(error);
  }
}

function aborted(error: unknown): TsbuildError {
  return new TsbuildError("ABORTED", "the build was stopped", { cause: error });
}

function asTsbuildError(error: unknown): TsbuildError {
  if (error instanceof TsbuildError) return error;
  return new TsbuildError("INTERNAL", `unexpected failure: ${messageOf(error)}`, {
    cause: error,
    hint: "this is a bug in tsbuild; --verbosity=debug prints where",
  });
}
