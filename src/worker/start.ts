import { messageOf, TsbuildError } from "../errors.js";
import { createWorker, openClient, type Client } from "./client.js";
import { needsRegistration } from "./emulation/emulation.js";
import {
  currentIdentity,
  plansFor,
  spawnChild,
  TOOLS_PATH,
  type NamespacePlan,
} from "./namespaces.js";
import type { RootDriver, SnapshotDriver } from "./layer-host-types.js";
import type { ProbeReport } from "./protocol.js";
import type { DriverName, HostReport, RefusedDriver, Worker, WorkerOptions } from "./types.js";

const SUBORDINATE_IDS =
  "newuidmap and newgidmap (package uidmap) with their file capabilities or set-uid bit, and lines for this user in /etc/subuid and /etc/subgid";

/** A worker's process in namespaces that do, and what to do in them. */
interface Session {
  readonly client: Client;
  readonly plan: NamespacePlan;
  readonly driver: RootDriver;
  /** Absent where there are no namespaces. */
  readonly probe?: ProbeReport;
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
      overlayOptions: probe?.overlayOptions ?? "",
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

type ProbeOptions = Pick<WorkerOptions, "driver" | "staging" | "foreign" | "inPlace" | "signal">;

async function findSession(options: ProbeOptions): Promise<Session> {
  const identity = currentIdentity();
  const refused: RefusedDriver[] = [];
  const candidates = await forEmulation(plansFor(identity), options.foreign ?? []);
  if (candidates.every(isSingle)) {
    const because = `no subordinate ids for ${identity.name ?? identity.uid} in /etc/subuid and /etc/subgid`;
    refused.push({ driver: "overlay", because, allowedBy: SUBORDINATE_IDS });
  }
  for (const plan of candidates.filter((each) => fits(each, options))) {
    const session =
      plan.kind === "none"
        ? await tryWithout(plan, options, refused)
        : await trySession(plan, options, refused);
    if (session !== undefined) return session;
  }
  throw unsupported(options.driver, refused);
}

/** Where an emulator has to be registered first, a user namespace comes first: it can be done there alone. */
async function forEmulation(
  plans: readonly NamespacePlan[],
  architectures: readonly string[],
): Promise<readonly NamespacePlan[]> {
  if (!(await needsRegistration(architectures, TOOLS_PATH))) return plans;
  const isFirst = (plan: NamespacePlan): boolean => plan.kind === "user" && !plan.singleId;
  return [...plans.filter(isFirst), ...plans.filter((plan) => !isFirst(plan))];
}

function fits(plan: NamespacePlan, { driver, inPlace }: ProbeOptions): boolean {
  if (plan.kind === "none" && plan.driver === "in-place" && inPlace === undefined) return false;
  if (driver === "auto") return true;
  if (plan.kind === "none") return driver === plan.driver;
  const isOther = driver === "in-place" || driver === "proot";
  return !isOther && driver.startsWith("single-") === isSingle(plan);
}

function isSingle(plan: NamespacePlan): boolean {
  return plan.kind === "user" && plan.singleId;
}

function nameOf(plan: NamespacePlan, driver: SnapshotDriver): DriverName {
  return isSingle(plan) ? `single-id-${driver}` : driver;
}

async function trySession(
  plan: Exclude<NamespacePlan, { kind: "none" }>,
  { driver: wanted, staging, signal }: ProbeOptions,
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

/** A driver that runs where we are: its worker's process has no namespaces of its own. */
async function tryWithout(
  plan: Extract<NamespacePlan, { kind: "none" }>,
  { staging, inPlace, signal }: ProbeOptions,
  refused: RefusedDriver[],
): Promise<Session | undefined> {
  const { driver, idMap } = plan;
  const client = openClient(await spawnChild(plan, signal));
  try {
    const options = inPlace === undefined ? {} : { inPlace };
    const refusal = await client.ask({ op: "probeWithout", driver, staging, ...options }, signal);
    if (refusal === undefined) return { client, plan, driver, host: { driver, idMap, refused } };
    refused.push({ driver, ...refusal });
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
  await client[Symbol.asyncDispose]();
  return undefined;
}

function allowedBy(plan: Exclude<NamespacePlan, { kind: "none" }>): string {
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
