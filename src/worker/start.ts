import { createWorker } from "./client.js";
import { findSession, isSingle, type ProbeOptions } from "./session.js";
import type { HostReport, Worker, WorkerOptions } from "./types.js";

/** Beside the directories of id maps: what is mounted shows the ids of the layer, whoever mounts it. */
const MOUNTED = "erofs";

/**
 * Starts the worker in the best namespaces that this host allows, tried out in the worker's process itself.
 * @throws TsbuildError HOST_UNSUPPORTED with the reason of each driver, ABORTED
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { client, plan, driver, probe, host } = await findSession(options);
  try {
    const open = {
      op: "open",
      staging: options.staging,
      layersDirectory: await options.layersDirectory(plan.idMap),
      ...(host.layers?.kind === "mounted"
        ? { mountedLayers: await options.layersDirectory(MOUNTED) }
        : {}),
      ...(options.cachesDirectory === undefined
        ? {}
        : { cachesDirectory: await options.cachesDirectory(plan.idMap) }),
      idMap: plan.idMap,
      driver,
      singleId: isSingle(plan) || driver === "proot",
      overlayOptions: probe?.overlayOptions ?? "",
      sharesPids: host.sharesPids,
      ...(host.memoryBytes === undefined ? {} : { memoryBytes: host.memoryBytes }),
      ...(driver === "in-place" && options.inPlace !== undefined
        ? { inPlace: options.inPlace }
        : {}),
      abandoned: options.abandoned,
    } as const;
    await client.ask(open, options.signal);
    return createWorker(client, host);
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
}

/** What `startWorker` would choose, without choosing it. @throws TsbuildError HOST_UNSUPPORTED, ABORTED */
export async function probeHost(options: ProbeOptions): Promise<HostReport> {
  const { client, host } = await findSession(options);
  await client[Symbol.asyncDispose]();
  return host;
}
