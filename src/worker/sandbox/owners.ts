import { Worker } from "node:worker_threads";
import { entryPath } from "../../internal/entry.js";
import type { Given, Intents } from "../snapshot/intents.js";
import type { NotifyCalls } from "../linux/notify.js";
import type { PathSpace } from "./step-paths.js";

/** What the thread is started with. */
export interface OwnerThreadOrder {
  /** Over which the listener comes. Its own from now on. */
  readonly socket: number;
  readonly space: PathSpace;
  /** What is known of the root's files. */
  readonly intents: Intents;
  /** The step's, of its machine. */
  readonly name: string;
  readonly user: {
    /** Who the step believes to be. */
    readonly uid: number;
    readonly gid: number;
    readonly groups: readonly number[];
    readonly realUid: number;
    readonly realGid: number;
  };
}

export interface OwnerReport {
  /** False when no listener came: the kernel refused it, or the step did not start. */
  readonly worked: boolean;
  /** By inode number: what the step did that its user may not. */
  readonly given: ReadonlyMap<bigint, Given>;
}

/** A thread that writes down what a step gives away. */
export interface OwnerWatch {
  /** The end of the socket for the step's first program; the caller closes it. */
  readonly stepEnd: number;
  /** Settles when the last process of the step is gone and `stepEnd` is closed everywhere. */
  readonly report: Promise<OwnerReport>;
}

export function watchOwners(
  order: Omit<OwnerThreadOrder, "socket">,
  calls: NotifyCalls,
): OwnerWatch {
  const [socket, stepEnd] = calls.socketPair();
  const workerData: OwnerThreadOrder = { ...order, socket };
  const thread = new Worker(entryPath("worker/sandbox/owner-thread.cjs"), {
    execArgv: [],
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 2 },
  });
  const report = new Promise<OwnerReport>((resolve, reject) => {
    thread.once("message", (message: OwnerReport) => resolve(message));
    thread.once("error", (error) => reject(error));
    thread.once("exit", () => reject(new Error("the thread that keeps owners ended")));
  });
  report.catch(() => undefined);
  return { stepEnd, report };
}
