import { lstatSync } from "node:fs";
import { readFile, statfs } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { writeFileAtomic } from "../internal/atomic-file.js";
import { type DiskUsage, measureTree } from "../internal/disk-usage.js";
import {
  isInUse,
  listThings,
  referencesOf,
  stateOf,
  type StoreThing,
  type ThingState,
} from "./contents.js";
import { abandonedRemovals, abandonedTemporaries, namesIn } from "./removals.js";
import { listStaging, type LivingBuild } from "./staging.js";

/** Does for the store what takes the ids of a namespace. */
export interface Namespaces {
  /** One answer for each path; `undefined`: no namespace with these ids can be had. */
  measure(
    idMap: string,
    paths: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly DiskUsage[] | undefined>;
  remove(idMap: string, paths: readonly string[], signal: AbortSignal): Promise<void>;
}

/** A thing with its size. */
export interface MeasuredThing extends StoreThing, Omit<ThingState, "usage">, DiskUsage {
  /** A build that lives may be using it. */
  readonly isInUse: boolean;
  /** Left behind by a process that is dead: of no use to anybody. */
  readonly isLeftover: boolean;
}

export interface MeasureOptions {
  readonly namespaces: Namespaces;
  /** A staging directory that counts as nobody's: of whoever asks, and builds nothing. */
  readonly own?: string;
  readonly signal: AbortSignal;
}

/** Sizes of trees that cost time to measure, from when they were last measured, and the sum. */
interface Ledger {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Bytes that the store took then. */
  readonly bytes: number;
  /** Bytes of its filesystem that were taken then, by whomever. */
  readonly diskUsed: number;
  /** By path: what it was, and its bytes. */
  readonly trees: Readonly<Record<string, readonly [token: string, bytes: number]>>;
}

const LEDGER = "usage.json";

/**
 * Everything in the store with its size and last use. What a record refers to was used when the record was. Layers that
 * were measured before are not measured again: nothing changes them.
 */
export async function measureStore(
  root: string,
  { namespaces, own, signal }: MeasureOptions,
): Promise<readonly MeasuredThing[]> {
  const ledger = await readLedger(root);
  const staging = await listStaging(join(root, "staging"));
  const living = staging.living.filter(({ directory }) => directory !== own);
  const context: Measuring = { root, ledger, living, namespaces, signal };
  const found: MeasuredThing[] = [];
  const closed = new Map<string, MeasuredThing[]>();
  for (const one of listThings(root)) {
    signal.throwIfAborted();
    const measured = await measure(one, context);
    if (measured === undefined) continue;
    const isClosed = measured.isPartial && measured.idMap !== undefined;
    if (!isClosed) found.push(measured);
    else closed.set(one.idMap ?? "", [...(closed.get(one.idMap ?? "") ?? []), measured]);
  }
  for (const [idMap, things] of closed) found.push(...(await fromInside(idMap, things, context)));
  found.push(...(await leftovers(staging.abandoned, context)));
  for (const { directory } of living) {
    const name = basename(directory);
    const one: StoreThing = { kind: "staging", name, path: directory, isTree: true };
    const measured = await measure(one, context);
    if (measured !== undefined) found.push({ ...measured, isInUse: true });
  }
  return usedByRecords(found, living);
}

interface Measuring {
  readonly root: string;
  readonly ledger: Ledger | undefined;
  readonly living: readonly LivingBuild[];
  readonly namespaces: Namespaces;
  readonly signal: AbortSignal;
}

async function measure(
  one: StoreThing,
  { root, ledger, living, signal }: Measuring,
): Promise<MeasuredThing | undefined> {
  const found = stateOf(one);
  if (found === undefined) return undefined;
  const { usage: ofFile, ...state } = found;
  const used = isInUse(one, state, living);
  const known = ledger?.trees[relative(root, one.path)];
  const isKnown = known !== undefined && known[0] === memoOf(one, state) && !used;
  const usage: DiskUsage = isKnown
    ? { bytes: known[1], shared: {}, isPartial: false }
    : (ofFile ?? (await measureTree(one.path, signal)));
  return { ...one, ...state, ...usage, isInUse: used, isLeftover: false };
}

/** A layer never changes; its use does. */
function memoOf({ kind }: StoreThing, { token }: ThingState): string {
  return kind === "layers" ? (token.split(" ")[0] ?? "") : token;
}

/** Sizes of what only the ids of a namespace may read. */
async function fromInside(
  idMap: string,
  things: readonly MeasuredThing[],
  { namespaces, signal }: Measuring,
): Promise<readonly MeasuredThing[]> {
  const paths = things.map(({ path }) => path);
  const sizes = await namespaces.measure(idMap, paths, signal);
  return things.map((one, at) => ({ ...one, ...sizes?.[at] }));
}

async function leftovers(
  staging: readonly string[],
  context: Measuring,
): Promise<readonly MeasuredThing[]> {
  const found: MeasuredThing[] = [];
  const trees = [...staging, ...(await abandonedRemovals(context.root))];
  for (const path of [...trees, ...abandonedTemporaries(context.root)]) {
    const below = relative(context.root, path).split("/");
    const idMap = below.length === 3 ? { idMap: below[1] ?? "" } : {};
    const isTree = trees.includes(path);
    const one = { kind: "staging", name: below.join("/"), path, isTree, ...idMap } as const;
    const measured = await measure(one, context);
    if (measured !== undefined) found.push({ ...measured, isInUse: false, isLeftover: true });
  }
  return found;
}

/** Without its layers a record says nothing, and blobs are only opened when a step needs their files. */
function usedByRecords(
  things: readonly MeasuredThing[],
  living: readonly LivingBuild[],
): readonly MeasuredThing[] {
  const used = new Map<string, number>();
  for (const { kind, path, lastUsed } of things) {
    if (kind !== "records") continue;
    for (const { digest, diffId } of referencesOf(path) ?? []) {
      for (const name of [`blobs ${digest}`, `indexes ${diffId}`]) {
        used.set(name, Math.max(used.get(name) ?? 0, lastUsed));
      }
    }
  }
  const oldest = Math.min(...living.map(({ began }) => began));
  return things.map((one) => {
    const lastUsed = Math.max(one.lastUsed, used.get(`${one.kind} ${one.name}`) ?? 0);
    return lastUsed === one.lastUsed
      ? one
      : { ...one, lastUsed, isInUse: one.isInUse || lastUsed >= oldest };
  });
}

/** What things take together. */
export function totalBytes(things: readonly DiskUsage[]): number {
  const seen = new Set<string>();
  let sum = 0;
  for (const { bytes, shared } of things) {
    sum += bytes;
    for (const [id, own] of Object.entries(shared)) if (!seen.has(id)) sum += own;
    for (const id of Object.keys(shared)) seen.add(id);
  }
  return sum;
}

/** Remembers sizes, and the sum, for {@link estimateBytes}. Never fails: it only saves time. */
export async function writeLedger(root: string, things: readonly MeasuredThing[]): Promise<void> {
  const trees: Record<string, readonly [string, number]> = {};
  for (const one of things) {
    const isKept = one.kind === "layers" || (one.kind === "caches" && !one.isInUse);
    const isWhole = !one.isPartial && Object.keys(one.shared).length === 0;
    if (isKept && isWhole) trees[relative(root, one.path)] = [memoOf(one, one), one.bytes];
  }
  const bytes = totalBytes(things);
  const ledger: Ledger = { at: Date.now(), bytes, diskUsed: (await diskOf(root)).used, trees };
  await writeFileAtomic(join(root, LEDGER), `${JSON.stringify(ledger)}\n`, 0o600).catch(
    () => undefined,
  );
}

async function readLedger(root: string): Promise<Ledger | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(join(root, LEDGER), "utf8"));
    const { at, bytes, diskUsed, trees } = value as Partial<Ledger>;
    const isLedger = [at, bytes, diskUsed].every((field) => typeof field === "number");
    return isLedger && typeof trees === "object" ? (value as Ledger) : undefined;
  } catch {
    return undefined;
  }
}

/** What the store takes, without measuring it. */
export interface Estimate {
  /** Milliseconds since 1970: when it was last measured. */
  readonly at: number;
  /** Bytes then. */
  readonly measured: number;
  /** Bytes that it may have gained since: as much as its filesystem has, and at least what its new blobs have. */
  readonly growth: number;
}

/** `undefined`: it was never measured. */
export async function estimateBytes(root: string): Promise<Estimate | undefined> {
  const ledger = await readLedger(root);
  if (ledger === undefined) return undefined;
  const ofDisk = (await diskOf(root)).used - ledger.diskUsed;
  // Others may have deleted as much meanwhile.
  const growth = Math.max(ofDisk, newBlobs(root, ledger.at));
  return { at: ledger.at, measured: ledger.bytes, growth };
}

/** Bytes of blobs that came after that time. */
function newBlobs(root: string, time: number): number {
  const directory = join(root, "blobs", "sha256");
  let sum = 0;
  for (const name of namesIn(directory)) {
    const found = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (found !== undefined && found.birthtimeMs >= time) sum += found.size;
  }
  return sum;
}

/** Bytes of a filesystem. */
export interface Disk {
  readonly total: number;
  readonly used: number;
  /** To this user. */
  readonly free: number;
}

/** Of the filesystem that a path is on. Throws the system's own error. */
export async function diskOf(path: string): Promise<Disk> {
  const { bsize, blocks, bfree, bavail } = await statfs(path);
  return { total: blocks * bsize, used: (blocks - bfree) * bsize, free: bavail * bsize };
}
