import { readFileSync } from "node:fs";
import { messageOf, TsbuildError } from "../errors.js";
import { openClient, type Client } from "./client.js";
import { needsRegistration } from "./emulation/emulation.js";
import { causeOf, SUBORDINATE_IDS, type Refusal } from "./host-causes.js";
import { readHostFacts, type HostFacts } from "./host-report.js";
import { ENOUGH_MEMORY, LEAST_MEMORY, memoryForFiles } from "./memory.js";
import {
  currentIdentity,
  hidesProc,
  ownerOf,
  plansFor,
  spawnChild,
  TOOLS_PATH,
  type NamespacePlan,
} from "./namespaces.js";
import type { RootDriver, SnapshotDriver } from "./layer-host-types.js";
import { userNamespaceOf } from "./sandbox/strays.js";
import type { ProbeReport, Request } from "./protocol.js";
import type {
  DriverName,
  HostReport,
  LayersReport,
  RefusedDriver,
  WorkerOptions,
} from "./types.js";

type NamespacesPlan = Exclude<NamespacePlan, { kind: "none" }>;
type WithoutPlan = Extract<NamespacePlan, { kind: "none" }>;

/** A worker's process in namespaces that do, and what to do in them. */
export interface Session {
  readonly client: Client;
  readonly plan: NamespacePlan;
  readonly driver: RootDriver;
  /** Absent where there are no namespaces. */
  readonly probe?: ProbeReport;
  readonly host: HostReport;
}

export type ProbeOptions = Pick<
  WorkerOptions,
  "driver" | "staging" | "foreign" | "inPlace" | "admit" | "layerMounts" | "signal"
>;

/** What is the same for every plan that is tried. */
interface Search {
  readonly options: ProbeOptions;
  readonly facts: HostFacts;
  readonly refused: RefusedDriver[];
}

/**
 * The best namespaces that this host allows, tried out in the worker's process itself, which goes on.
 * @throws TsbuildError HOST_UNSUPPORTED with the reason of each driver, ABORTED
 */
export async function findSession(options: ProbeOptions): Promise<Session> {
  const identity = currentIdentity();
  const refused: RefusedDriver[] = [];
  const search = { options, facts: readHostFacts(options.staging), refused };
  const plans = plansFor(identity, search.facts.hidesProc);
  const candidates = await forEmulation(plans, options.foreign ?? []);
  if (!candidates.some((plan) => plan.kind !== "none" && !isSingle(plan))) {
    const because = `no subordinate ids for ${identity.name ?? identity.uid} in /etc/subuid and /etc/subgid`;
    refused.push({ driver: "overlay", because, allowedBy: SUBORDINATE_IDS });
  }
  for (const plan of candidates.filter((each) => fits(each, options))) {
    const session =
      plan.kind === "none" ? await tryWithout(plan, search) : await tryNamespaces(plan, search);
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

function fits(plan: NamespacePlan, { driver, inPlace, admit }: ProbeOptions): boolean {
  if (plan.kind === "user" && plan.shifted === true && admit === undefined) return false;
  if (plan.kind === "none" && plan.driver === "in-place" && inPlace === undefined) return false;
  if (driver === "auto") return true;
  if (plan.kind === "none") return driver === plan.driver;
  const isOther = driver === "in-place" || driver === "proot";
  return !isOther && driver.startsWith("single-") === isSingle(plan);
}

export function isSingle(plan: NamespacePlan): boolean {
  return plan.kind === "user" && plan.singleId;
}

function nameOf(plan: NamespacePlan, driver: SnapshotDriver): DriverName {
  return isSingle(plan) ? `single-id-${driver}` : driver;
}

const LAYERS_OFF: LayersReport = { kind: "unpacked", because: "it was asked for" };

/** With a pid namespace, unless /proc says, or the kernel, that none can be had there. */
async function tryNamespaces(plan: NamespacesPlan, search: Search): Promise<Session | undefined> {
  const isHidden = plan.kind === "user" && hidesProc(readFileSync("/proc/self/mountinfo", "utf8"));
  const found = await trySession(plan, isHidden, search);
  return found === "hides-proc" ? sessionOf(await trySession(plan, true, search)) : found;
}

function sessionOf(found: Session | "hides-proc" | undefined): Session | undefined {
  return found === "hides-proc" ? undefined : found;
}

async function trySession(
  plan: NamespacesPlan,
  sharesPids: boolean,
  search: Search,
): Promise<Session | "hides-proc" | undefined> {
  const { options } = search;
  const { signal } = options;
  let client: Client | undefined;
  try {
    const root = await admitted(plan, options);
    const place = { sharesPids, ...(root === undefined ? {} : { cwd: root }) };
    const child = await spawnChild(plan, place, signal);
    client = openClient(child, sharesPids ? userNamespaceOf(child.process.pid ?? 0) : undefined);
    const probe = await client.ask(probeRequest(sharesPids, root, options), signal);
    if (probe.hidesProc) {
      await client[Symbol.asyncDispose]();
      return "hides-proc";
    }
    for (const each of probe.refused) {
      const step = probe.canMount ? "overlay" : "mount";
      refuse(plan, { step, ...each }, search);
    }
    const driver = choose(probe, plan, options);
    if (driver !== undefined) {
      const memory = driver === "overlay" && probe.needsMemory ? memoryForFiles() : undefined;
      const host: HostReport = {
        driver: nameOf(plan, driver),
        idMap: plan.idMap,
        refused: search.refused,
        sharesPids,
        ...(memory === undefined ? {} : { memoryBytes: memory }),
        ...(driver === "overlay" ? { layers: probe.layers ?? LAYERS_OFF } : {}),
      };
      return { client, plan, driver, probe, host };
    }
  } catch (error) {
    await client?.[Symbol.asyncDispose]();
    if (signal.aborted) throw error;
    const because = messageOf(error).replace(/^tried to talk to the worker: /, "");
    const failure = { step: "namespace", because, allowedBy: "" } as const;
    refuse(plan, failure, search);
    return undefined;
  }
  await client[Symbol.asyncDispose]();
  return undefined;
}

/** The store's directory, where its files have to be opened to the root of the plan's namespace first. */
async function admitted(
  plan: NamespacesPlan,
  { admit }: ProbeOptions,
): Promise<string | undefined> {
  if (plan.kind !== "user" || plan.shifted !== true) return undefined;
  return admit?.(ownerOf(plan), plan.idMap);
}

function probeRequest(
  sharesPids: boolean,
  reach: string | undefined,
  { driver, staging, layerMounts }: ProbeOptions,
): Extract<Request, { op: "probe" }> {
  const memoryBytes = memoryForFiles();
  const enough = driver.endsWith("overlay") ? LEAST_MEMORY : ENOUGH_MEMORY;
  return {
    op: "probe",
    staging,
    sharesPids,
    ...(reach === undefined ? {} : { reach }),
    ...(memoryBytes < enough ? {} : { memoryBytes }),
    layerMounts: layerMounts !== "off" && !driver.endsWith("plain"),
  };
}

function choose(
  { canMount, overlayOptions }: ProbeReport,
  plan: NamespacesPlan,
  { driver: wanted }: ProbeOptions,
): SnapshotDriver | undefined {
  if (!canMount) return undefined;
  const possible =
    overlayOptions === undefined ? ["plain" as const] : (["overlay", "plain"] as const);
  return possible.find((name) => wanted === "auto" || nameOf(plan, name) === wanted);
}

/** Said once, however many plans fail by it. */
function refuse(
  plan: NamespacesPlan,
  { step, because, allowedBy }: { readonly step: Refusal["step"] } & Omit<RefusedDriver, "driver">,
  { facts, refused }: Search,
): void {
  const found = causeOf({ step, because, plan, facts });
  const refusal = {
    driver: nameOf(plan, "overlay"),
    because: found?.cause === undefined ? because : `${because} (${found.cause})`,
    allowedBy: found?.allowedBy ?? allowedBy,
    ...(found?.podSpec === undefined ? {} : { podSpec: found.podSpec }),
  };
  const isKnown = refused.some(
    (one) => one.driver === refusal.driver && one.because === refusal.because,
  );
  if (!isKnown) refused.push(refusal);
}

/** A driver that runs where we are: its worker's process has no namespaces of its own. */
async function tryWithout(
  plan: WithoutPlan,
  { options: { staging, inPlace, signal }, refused }: Search,
): Promise<Session | undefined> {
  const { driver, idMap } = plan;
  const client = openClient(await spawnChild(plan, { sharesPids: true }, signal));
  try {
    const options = inPlace === undefined ? {} : { inPlace };
    const refusal = await client.ask({ op: "probeWithout", driver, staging, ...options }, signal);
    const host: HostReport = { driver, idMap, refused, sharesPids: true };
    if (refusal === undefined) return { client, plan, driver, host };
    refused.push({ driver, ...refusal });
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
  await client[Symbol.asyncDispose]();
  return undefined;
}

function unsupported(driver: WorkerOptions["driver"], refused: readonly RefusedDriver[]): Error {
  const reasons = refused.map((each) => `${each.driver}: ${each.because}`);
  const what = driver === "auto" ? "no driver fits this host" : `driver ${driver} does not fit`;
  const because = reasons.length === 0 ? "it has no such namespaces" : reasons.join("; ");
  return new NoDriverError(
    `tried to start the worker: ${what}: ${because}`,
    `needed: ${[...new Set(refused.map((each) => each.allowedBy))].join("; or ")}`,
    refused,
  );
}

/** Nothing here can run a step. */
export class NoDriverError extends TsbuildError {
  readonly refused: readonly RefusedDriver[];

  constructor(message: string, hint: string, refused: readonly RefusedDriver[]) {
    super("HOST_UNSUPPORTED", message, { hint });
    this.refused = refused;
  }
}
