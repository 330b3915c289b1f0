import { parentPort, workerData } from "node:worker_threads";
import { errnoOf, messageOf } from "../errors.js";
import { serveHashRing } from "../internal/hash-ring.js";
import type { HashOrder } from "../internal/hash-threads.js";
import { HASHING_IN_PLACE } from "../internal/hashing.js";
import { hashingOver } from "./root-hash.js";
import type { RootFailure, RootReply, RootRequest } from "./root-jobs.js";

/** The thread that goes into roots: one job at a time, until the process that started it ends it. */
async function serve(port: NonNullable<typeof parentPort>): Promise<void> {
  const reply = (message: RootReply, transfer: readonly ArrayBuffer[] = []): void =>
    port.postMessage(message, transfer);
  let abort = new AbortController();
  try {
    // A thread that hashes needs none of it.
    const { openRootWork } = await import("./root-work.js");
    const work = openRootWork(process.argv[2]);
    port.on("message", (request: RootRequest) => {
      if (request.type === "abort") {
        abort.abort();
        return;
      }
      abort = new AbortController();
      const { job, hashing: over } = request;
      const ask = (): void => reply({ type: "hash" });
      const hashing = over === undefined ? HASHING_IN_PLACE : hashingOver(over, ask);
      work(job, hashing, abort.signal).then(
        ({ result, transfer }) => reply({ type: "done", result }, transfer),
        (error: unknown) => reply({ type: "failed", error: failureOf(error) }),
      );
    });
    reply({ type: "ready" });
  } catch (error) {
    reply({ type: "failed", error: failureOf(error) });
  }
}

function failureOf(error: unknown): RootFailure {
  const code = errnoOf(error);
  const stack = error instanceof Error ? error.stack : undefined;
  const hint = hintOf(error);
  return {
    message: messageOf(error),
    ...(code === undefined ? {} : { code }),
    ...(hint === undefined ? {} : { hint }),
    ...(stack === undefined ? {} : { stack }),
  };
}

/** A {@link TsbuildError}'s, also of the copy of that class that the work's own file has. */
function hintOf(error: unknown): string | undefined {
  const hint: unknown = error instanceof Error && "hint" in error ? error.hint : undefined;
  return typeof hint === "string" ? hint : undefined;
}

// An entry file: starting it is what it is for. Nobody imports it.
const order = workerData as HashOrder | null | undefined;
if (order !== null && order !== undefined) serveHashRing(order.hashRing);
else if (parentPort !== null) void serve(parentPort);
