import { messageOf, TsbuildError } from "../errors.js";
import { createWorker, openClient, type Client } from "./client.js";
import { currentIdentity, plansFor, spawnChild, type NamespacePlan } from "./namespaces.js";
import type { SnapshotDriver } from "./layer-host-types.js";
import type { ProbeReport } from "./protocol.js";
import type { DriverName, HostReport, RefusedDriver, Worker, WorkerOptions } from "./types.js";

const SUBORDINATE_IDS =
  "newuidmap and newgidmap (package uidmap) with their file capabilities or set-uid bit, and lines for this user in /etc/subuid and /etc/subgid";

/** A worker's process in namespaces that do, and what to do in them. */
interface Session {
  readonly client: Client;
  readonly plan: NamespacePlan;
  readonly driver: SnapshotDriver;
  readonly probe: ProbeReport;
  readonly host: HostReport;
}

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
      ...(options.cachesDirectory === undefined
        ? {}
        : { cachesDirectory: await options.cachesDirectory(plan.idMap) }),
      idMap: plan.idMap,
      driver,
      singleId: isSingle(plan),
      overlayOptions: probe.overlayOptions ?? "",
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
export async function probeHost(
  options: Pick<WorkerOptions, "driver" | "staging" | "signal">,
): Promise<HostReport> {
  const { client, host } = await findSession(options);
  await client[Symbol.asyncDispose]();
  return host;
}

async function findSession(
  options: Pick<WorkerOptions, "driver" | "staging" | "signal">,
): Promise<Session> {
  const identity = currentIdentity();
  const refused: RefusedDriver[] = [];
  const candidates = plansFor(identity);
  if (candidates.every(isSingle)) {
    const because = `no subordinate ids for ${identity.name ?? identity.uid} in /etc/subuid and /etc/subgid`;
    refused.push({ driver: "overlay", because, allowedBy: SUBORDINATE_IDS });
  }
  const plans = candidates.filter(
    (plan) => options.driver === "auto" || options.driver.startsWith("single-") === isSingle(plan),
  );
  for (const plan of plans) {
    const session = await trySession(plan, options, refused);
    if (session !== undefined) return session;
  }
  throw unsupported(options.driver, refused);
}

function isSingle(plan: NamespacePlan): boolean {
  return plan.kind === "user" && plan.singleId;
}

function nameOf(plan: NamespacePlan, driver: SnapshotDriver): DriverName {
  return isSingle(plan) ? `single-id-${driver}` : driver;
}

async function trySession(
  plan: NamespacePlan,
  { driver: wanted, staging, signal }: Pick<WorkerOptions, "driver" | "staging" | "signal">,
  refused: RefusedDriver[],
): Promise<Session | undefined> {
  const refuse = (because: string, allowedBy: string): undefined => {
    refused.push({ driver: nameOf(plan, "overlay"), because, allowedBy });
    return undefined;
  };
  let client: Client | undefined;
  try {
    client = openClient(await spawnChild(plan, signal));
    const probe = await client.ask({ op: "probe", staging }, signal);
    const candidates: readonly SnapshotDriver[] = probe.canMount
      ? probe.overlayOptions === undefined
        ? ["plain"]
        : ["overlay", "plain"]
      : [];
    for (const each of probe.refused) refuse(each.because, each.allowedBy);
    const driver = candidates.find((name) => wanted === "auto" || nameOf(plan, name) === wanted);
    if (driver !== undefined) {
      const host = { driver: nameOf(plan, driver), idMap: plan.idMap, refused };
      return { client, plan, driver, probe, host };
    }
  } catch (error) {
    await client?.[Symbol.asyncDispose]();
    if (signal.aborted) throw error;
    return refuse(messageOf(error), allowedBy(plan));
  }
  await client[Symbol.asyncDispose]();
  return undefined;
}

function allowedBy(plan: NamespacePlan): string {
  if (plan.kind === "host") return "CAP_SYS_ADMIN, or user namespaces";
  if (plan.singleId || plan.writer === "direct") {
    return "user namespaces: no seccomp profile (RuntimeDefault) or AppArmor profile that refuses them, and the sysctls user.max_user_namespaces and kernel.unprivileged_userns_clone";
  }
  return SUBORDINATE_IDS;
}

function unsupported(driver: WorkerOptions["driver"], refused: readonly RefusedDriver[]): Error {
  const reasons = refused.map((each) => `${each.driver}: ${each.because}`);
  const what = driver === "auto" ? "no driver fits this host" : `driver ${driver} does not fit`;
  const because = reasons.length === 0 ? "it has no such namespaces" : reasons.join("; ");
  return new TsbuildError("HOST_UNSUPPORTED", `tried to start the worker: ${what}: ${because}`, {
    hint: `needed: ${[...new Set(refused.map((each) => each.allowedBy))].join("; or ")}`,
  });
}
