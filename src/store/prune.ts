import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../errors.js";
import { lockDirectory } from "../internal/directory-lock.js";
import { KEEP_ALL, whileTaking } from "../internal/in-use.js";
import {
  isInUse,
  LAYER_MARK,
  referencesOf,
  stateOf,
  type StoreKind,
  type StoreThing,
} from "./contents.js";
import { storeFailure } from "./failure.js";
import { moveAway, putBack } from "./removals.js";
import { removeTree } from "./remove-tree.js";
import { listStaging } from "./staging.js";
import {
  type MeasuredThing,
  measureStore,
  type Namespaces,
  totalBytes,
  writeLedger,
} from "./usage.js";

/** What may go. Nothing that a living build uses ever does; what dead ones left always does. */
export interface PrunePolicy {
  /** Bytes that may stay; of more, what was not used for longest goes. Absent: all that the rest allows goes. */
  readonly keepBytes?: (bytes: number) => Promise<number>;
  /** Milliseconds: only what was not used for so long. */
  readonly olderThanMs?: number;
  /** Only these. */
  readonly kinds?: ReadonlySet<StoreKind>;
}

export interface PruneOptions {
  readonly policy: PrunePolicy;
  readonly namespaces: Namespaces;
  /** The staging directory of the store that this process has open; what is moved away goes through it. */
  readonly staging: string;
  /** Whether a build goes on with that staging directory. */
  readonly isBuilding: boolean;
  readonly dryRun: boolean;
  /** Whether to wait for others who clean up; else nothing is done beside them. */
  readonly waits: boolean;
  readonly signal: AbortSignal;
}

/** What went, or would go. */
export interface Pruned {
  readonly removed: readonly MeasuredThing[];
  /** What the store takes after that. */
  readonly bytesLeft: number;
  /** What it took less than before. */
  readonly bytesFreed: number;
  /** What could not be deleted, one sentence each; the next time it is tried again. */
  readonly problems: readonly string[];
}

/** Renames between two looks at who lives: builds that begin to use something wait for them. */
const AT_ONCE = 64;
/** A build that is done does not wait for longer. */
const PATIENCE_MS = 100;

/**
 * Deletes what was not used for longest. Several builds, and several of these, may go on meanwhile; one that is killed
 * leaves nothing half there. @throws TsbuildError STORE_FAILED, ABORTED's reason
 */
export async function pruneStore(root: string, options: PruneOptions): Promise<Pruned> {
  const { policy, namespaces, staging, isBuilding, dryRun, waits, signal } = options;
  await using lock = await lockOf(root, waits, signal);
  if (lock === undefined) return { removed: [], problems: [], bytesFreed: 0, bytesLeft: 0 };
  const own = isBuilding ? {} : { own: staging };
  const things = await measureStore(root, { namespaces, ...own, signal });
  const total = totalBytes(things);
  const dependents = policy.kinds === undefined ? new Map() : recordsByBlob(things);
  const removal = new Removal(root, options, { dependents, holders: holdersOf(things) });
  const leftovers = things.filter(({ isLeftover }) => isLeftover);
  if (policy.kinds?.has("staging") ?? true) await removal.remove(leftovers);
  const keep = (await policy.keepBytes?.(total)) ?? 0;
  const queue = candidates(things, policy).values();
  for (let isEnd = false; !isEnd && total - removal.bytes > keep;) {
    signal.throwIfAborted();
    const batch: MeasuredThing[] = [];
    let left = total - removal.bytes;
    while (batch.length < AT_ONCE && left > keep) {
      const next = queue.next();
      isEnd = next.done === true;
      if (next.done === true) break;
      batch.push(next.value);
      // What others have too may stay: then there is another round.
      left -= next.value.bytes + sum(Object.values(next.value.shared));
    }
    await removal.take(batch);
  }
  await removal.end();
  const { removed, problems } = removal;
  const left = things.filter((one) => !removed.has(one));
  if (!dryRun) await writeLedger(root, left);
  return {
    removed: [...removed],
    problems,
    bytesFreed: removal.bytes,
    bytesLeft: total - removal.bytes,
  };
}

/** Takes what was found to be damaged, unless a build uses it. Gives what went. @throws TsbuildError STORE_FAILED */
export async function removeThings(
  root: string,
  things: readonly MeasuredThing[],
  options: Omit<PruneOptions, "policy" | "dryRun" | "waits">,
): Promise<ReadonlySet<MeasuredThing>> {
  await using _lock = await lockOf(root, true, options.signal);
  const known = { dependents: new Map(), holders: holdersOf(things) };
  const removal = new Removal(root, { ...options, policy: {}, dryRun: false, waits: true }, known);
  await removal.remove(things.filter(({ isLeftover }) => isLeftover));
  await removal.take(things.filter(({ isLeftover }) => !isLeftover));
  await removal.end();
  return removal.removed;
}

/** One at a time. `undefined`: another one, and nobody wants to wait for it. */
async function lockOf(
  root: string,
  waits: boolean,
  signal: AbortSignal,
): Promise<AsyncDisposable | undefined> {
  const path = join(root, "prune-lock");
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await lockDirectory(path, waits ? signal : AbortSignal.any([signal, patience]));
  } catch (error) {
    signal.throwIfAborted();
    if (!waits && patience.aborted) return undefined;
    throw storeFailure("take the lock of those who clean up", path, error);
  }
}

/** Smaller things first where all else is equal: a record goes before what it refers to. */
const ORDER: readonly StoreKind[] = ["records", "stat", "downloads", "indexes", "layers", "caches"];

function candidates(
  things: readonly MeasuredThing[],
  { kinds, olderThanMs }: PrunePolicy,
): MeasuredThing[] {
  const latest = olderThanMs === undefined ? Infinity : Date.now() - olderThanMs;
  const rank = ({ kind }: StoreThing): number =>
    ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length;
  return things
    .filter(
      ({ kind, isLeftover, isInUse: used, lastUsed }) =>
        kind !== "staging" &&
        kind !== "other" &&
        !isLeftover &&
        !used &&
        (kinds?.has(kind) ?? true) &&
        lastUsed <= latest,
    )
    .toSorted((a, b) => a.lastUsed - b.lastUsed || rank(a) - rank(b));
}

type Dependents = ReadonlyMap<string, readonly MeasuredThing[]>;

function recordsByBlob(things: readonly MeasuredThing[]): Dependents {
  const found = new Map<string, MeasuredThing[]>();
  for (const one of things) {
    if (one.kind !== "records") continue;
    for (const { digest } of referencesOf(one.path) ?? []) {
      found.set(digest, [...(found.get(digest) ?? []), one]);
    }
  }
  return found;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** How many things a file with several names is in. */
function holdersOf(things: readonly MeasuredThing[]): Map<string, number> {
  const holders = new Map<string, number>();
  for (const { shared } of things) {
    for (const id of Object.keys(shared)) holders.set(id, (holders.get(id) ?? 0) + 1);
  }
  return holders;
}

interface Known {
  readonly dependents: Dependents;
  readonly holders: Map<string, number>;
}

/** Moves things out of everybody's sight, and then deletes them. */
class Removal {
  readonly removed = new Set<MeasuredThing>();
  readonly problems: string[] = [];
  /** Of what was removed. */
  bytes = 0;
  readonly #root: string;
  readonly #options: PruneOptions;
  readonly #dependents: Dependents;
  readonly #holders: Map<string, number>;
  /** What belongs to other ids, by the id map. */
  readonly #stubborn = new Map<string, string[]>();

  constructor(root: string, options: PruneOptions, { dependents, holders }: Known) {
    this.#root = root;
    this.#options = options;
    this.#dependents = dependents;
    this.#holders = holders;
  }

  /** Deletes what nobody uses. */
  async remove(things: readonly MeasuredThing[]): Promise<void> {
    for (const one of things) {
      if (!this.#options.dryRun) await this.#delete(one.path, one);
      this.#count(one);
    }
  }

  /** Takes those that still are what they were when they were measured. */
  async take(things: readonly MeasuredThing[]): Promise<void> {
    const withRecords = things.flatMap((one) =>
      one.kind === "blobs" ? [...(this.#dependents.get(one.name) ?? []), one] : [one],
    );
    const all = [...new Set(withRecords)].filter((one) => !this.removed.has(one));
    if (this.#options.dryRun) {
      for (const one of all) this.#count(one);
      return;
    }
    const taken = await whileTaking(this.#root, () => this.#move(all));
    for (const { one, away } of taken) {
      if (one.kind === "layers") await rm(`${one.path}${LAYER_MARK}`, { force: true });
      await this.#delete(away, one);
      this.#count(one);
    }
  }

  /** Deletes what only a namespace's ids may. */
  async end(): Promise<void> {
    for (const [idMap, paths] of this.#stubborn) {
      await this.#options.namespaces.remove(idMap, paths, this.#options.signal);
      for (const path of paths) {
        if ((await stat(path).catch(() => undefined)) === undefined) continue;
        this.problems.push(`${path} belongs to other users and could not be deleted`);
      }
    }
  }

  async #move(
    things: readonly MeasuredThing[],
  ): Promise<readonly { readonly one: MeasuredThing; readonly away: string }[]> {
    const { staging, isBuilding } = this.#options;
    const states = things.map(stateOf);
    // After the times, so that who began later than this list cannot have been seen in them.
    const all = (await listStaging(join(this.#root, "staging"))).living;
    const living = isBuilding ? all : all.filter(({ directory }) => directory !== staging);
    for (const { directory } of living) {
      if ((await stat(join(directory, KEEP_ALL)).catch(() => undefined)) !== undefined) return [];
    }
    const taken: { readonly one: MeasuredThing; readonly away: string }[] = [];
    for (const [at, one] of things.entries()) {
      const before = states[at];
      if (before === undefined || isInUse(one, before, living)) continue;
      try {
        const away = await moveAway(one.path, one.isTree, staging);
        const after = stateOf({ ...one, path: away });
        if (after?.token === before.token) taken.push({ one, away });
        else await putBack(one.path, away, one.isTree);
      } catch (error) {
        this.problems.push(`${one.path} could not be moved away: ${messageOf(error)}`);
      }
    }
    return taken;
  }

  async #delete(path: string, { idMap, isTree }: StoreThing): Promise<void> {
    if (!isTree) {
      // What cannot be deleted goes with the staging directory.
      await rm(path, { force: true }).catch(() => undefined);
      return;
    }
    if (await removeTree(path)) return;
    const ids = idMap ?? "";
    this.#stubborn.set(ids, [...(this.#stubborn.get(ids) ?? []), path]);
  }

  #count(one: MeasuredThing): void {
    this.removed.add(one);
    this.bytes += one.bytes;
    for (const [id, bytes] of Object.entries(one.shared)) {
      const others = (this.#holders.get(id) ?? 1) - 1;
      this.#holders.set(id, others);
      // With the last of its names.
      if (others === 0) this.bytes += bytes;
    }
  }
}
