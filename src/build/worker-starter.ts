import type { Emit } from "../solver/types.js";
import { removeTree } from "../store/index.js";
import type { Store } from "../store/types.js";
import { startWorker } from "../worker/start.js";
import type { Worker } from "../worker/types.js";
import type { Cleanup } from "./cleanup.js";
import type { BuildOptions } from "./options.js";

const SINGLE_ID =
  "this user has no subordinate ids: whatever a step gives to another user belongs to root in the image";

export interface StarterInput {
  readonly store: Store;
  readonly cleanup: Cleanup;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** Starts the worker at the first call; every call gives the same one. */
export function workerStarter(
  { driver = "auto" }: BuildOptions,
  { store, cleanup, emit, signal }: StarterInput,
): () => Promise<Worker> {
  const start = async (): Promise<Worker> => {
    const worker = await startWorker({
      driver,
      staging: store.staging,
      layersDirectory: (idMap) => store.layersDirectory(idMap),
      cachesDirectory: (idMap) => store.cachesDirectory(idMap),
      abandoned: await leftovers(store),
      signal,
    });
    cleanup.use(worker);
    const { driver: name, refused } = worker.host;
    const note = refused.map((one) => `${one.driver}: ${one.because}`).join("; ");
    emit({ type: "driver", name, ...(note === "" ? {} : { note }) });
    if (name.startsWith("single-id")) emit({ type: "notice", message: SINGLE_ID });
    return worker;
  };
  let worker: Promise<Worker> | undefined;
  return () => (worker ??= start());
}

/** What dead builds left and only the namespace of its owners can delete; the rest is deleted here. */
async function leftovers(store: Store): Promise<readonly string[]> {
  const stubborn: string[] = [];
  for (const path of await store.abandoned()) {
    if (!(await removeTree(path))) stubborn.push(path);
  }
  return stubborn;
}
