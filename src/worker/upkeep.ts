import type { DiskUsage } from "../internal/disk-usage.js";
import { TsbuildError } from "../errors.js";
import { openClient, type Client } from "./client.js";
import { currentIdentity, type NamespacePlan, plansFor, spawnChild } from "./namespaces.js";
import { userNamespaceOf } from "./sandbox/strays.js";

/** For the store's files that belong to the ids of a namespace: this user's, once it is in there. */
export interface Upkeep extends AsyncDisposable {
  /** What trees take on the disk, in the order of the paths. */
  measure(paths: readonly string[], signal: AbortSignal): Promise<readonly DiskUsage[]>;
  /** As far as it goes. */
  remove(paths: readonly string[], signal: AbortSignal): Promise<void>;
}

type UserPlan = Extract<NamespacePlan, { kind: "user" }>;

/**
 * A process with the ids of that map and no right to anything else. `undefined`: this user cannot have one.
 * @param root of the store
 * @throws TsbuildError ABORTED
 */
export async function openUpkeep(
  idMap: string,
  root: string,
  signal: AbortSignal,
): Promise<Upkeep | undefined> {
  const plan = plansFor(currentIdentity(), false).find(
    (each): each is UserPlan => each.kind === "user" && each.idMap === idMap,
  );
  if (plan === undefined) return undefined;
  let client: Client;
  try {
    const place = { sharesPids: true, ...(plan.shifted === true ? { cwd: root } : {}) };
    const child = await spawnChild(plan, place, signal);
    client = openClient(child, userNamespaceOf(child.process.pid ?? 0));
  } catch (error) {
    if (signal.aborted || !(error instanceof TsbuildError)) throw error;
    return undefined;
  }
  const reach = plan.shifted === true ? { reach: root } : {};
  return {
    measure: (paths, stop) => client.ask({ op: "measure", paths, ...reach }, stop),
    remove: (paths, stop) => client.ask({ op: "remove", paths, ...reach }, stop),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
