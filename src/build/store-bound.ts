import { stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../errors.js";
import type { Emit } from "../solver/types.js";
import {
  type Bound,
  bytesToKeep,
  defaultBound,
  type Disk,
  diskOf,
  type Estimate,
  estimateBytes,
  pruneStore,
  removeTree,
  type Store,
} from "../store/index.js";
import { type Environment, valueOf } from "./environment.js";
import { openNamespaces } from "./store-open.js";
import { parseSize } from "./store-size.js";

/** How large the store may become, as it was asked for. */
export type KeepStorage = number | string;

/** A store that was measured so long ago is measured again by a build that adds to it: others delete files, too. */
const MEASURED_MS = 24 * 3600 * 1000;
/** Parts of the bound by which a store has to grow until it is measured again. */
const GROWTH = 0.01;

/** What was asked for, by an option or the environment; `none` is no bound. @throws TsbuildError USAGE */
export function readKeepStorage(
  option: KeepStorage | undefined,
  environment: Environment,
): KeepStorage | undefined {
  const given = option ?? valueOf(environment, "TSBUILD_KEEP_STORAGE");
  if (given !== undefined && given !== "none") parseSize(given, "keep-storage", 0);
  return given;
}

interface BoundInput {
  /** Of the build; milliseconds since 1970. */
  readonly began: number;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/**
 * After a build: deletes what was not used for longest, if the store has become too large. Almost always that takes a
 * few system calls to know. Never fails: the build is done.
 */
export async function boundStore(
  store: Store,
  given: KeepStorage | undefined,
  { began, emit, signal }: BoundInput,
): Promise<void> {
  try {
    // A build that starts no worker meets those of killed ones here. What belongs to other ids, a worker deletes.
    for (const path of await store.abandoned()) await removeTree(path);
    if (given === "none") return;
    const { root, staging } = store;
    // A build that added nothing has nothing to pay for.
    if (!(await isNewer(join(root, "blobs", "sha256"), began))) return;
    const disk = await diskOf(root);
    const bound = boundOf(given, disk);
    const estimate = await estimateBytes(root);
    if (estimate !== undefined && !isDue(estimate, disk, bound)) return;
    const namespaces = openNamespaces(root);
    const policy = {
      keepBytes: async (bytes: number) => bytesToKeep(bytes, await diskOf(root), bound),
    };
    const options = {
      policy,
      namespaces,
      staging,
      isBuilding: true,
      dryRun: false,
      waits: false,
      signal,
    };
    const { bytesFreed, removed } = await pruneStore(root, options);
    if (removed.length === 0) return;
    const size = `${Math.ceil(bytesFreed / 1e6)} MB`;
    const message = `freed ${size} of the store: ${removed.length} things that were not used for longest (--keep-storage says how much it may keep)`;
    emit({ type: "notice", message });
  } catch (error) {
    if (signal.aborted) return;
    emit({ type: "notice", message: `the store could not be made smaller: ${messageOf(error)}` });
  }
}

function boundOf(given: KeepStorage | undefined, disk: Disk): Bound {
  if (given === undefined) return defaultBound(disk);
  return { most: parseSize(given, "keep-storage", disk.total), free: 0, least: 0 };
}

function isDue({ at, measured, growth }: Estimate, disk: Disk, bound: Bound): boolean {
  const keep = bytesToKeep(measured + growth, disk, bound);
  if (measured + growth > keep && growth >= keep * GROWTH) return true;
  return Date.now() - at > MEASURED_MS;
}

/** A directory gets a new time with each new name in it. */
async function isNewer(directory: string, time: number): Promise<boolean> {
  return (await stat(directory)).mtimeMs >= time;
}
