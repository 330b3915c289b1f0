import { measureStore, STORE_KINDS, totalBytes, writeLedger } from "../store/index.js";
import type { MeasuredThing, StoreKind } from "../store/index.js";
import { type StoreOptions, tendStore } from "./store-open.js";

/** One thing in a store. */
export interface StoreEntry {
  readonly kind: StoreKind;
  /** A digest, or a path below the kind's directory. */
  readonly name: string;
  /** On the disk. */
  readonly bytes: number;
  /** Of these, how many another entry has too. */
  readonly sharedBytes: number;
  readonly lastUsed: Date;
  /** A build that goes on may be using it. */
  readonly inUse: boolean;
}

/** All things of one kind; of layers and cache mounts, for one id map. */
export interface StoreKindUsage {
  readonly kind: StoreKind;
  readonly idMap?: string;
  readonly count: number;
  /** On the disk; what several kinds share counts for the first of them. */
  readonly bytes: number;
  readonly lastUsed: Date;
}

export interface StoreUsage {
  readonly store: string;
  /** On the disk. */
  readonly bytes: number;
  /** Of these, what builds that go on may be using. */
  readonly bytesInUse: number;
  readonly kinds: readonly StoreKindUsage[];
  /** Last used first. */
  readonly entries: readonly StoreEntry[];
  /** Parts of it belong to ids that this user cannot have: they take more. */
  readonly isPartial: boolean;
}

/** What a store takes on the disk, and what for. @throws TsbuildError USAGE, STORE_FAILED, ABORTED */
export async function storeUsage(options: StoreOptions = {}): Promise<StoreUsage> {
  const { store, result } = await tendStore(options, async ({ root, ...tended }) => {
    const found = await measureStore(root, { ...tended, own: tended.staging });
    await writeLedger(root, found);
    return found;
  });
  const things = result ?? [];
  return {
    store,
    bytes: totalBytes(things),
    bytesInUse: totalBytes(things.filter(({ isInUse }) => isInUse)),
    kinds: kindsOf(things),
    entries: things.map(entryOf).toSorted((a, b) => Number(b.lastUsed) - Number(a.lastUsed)),
    isPartial: things.some(({ isPartial }) => isPartial),
  };
}

export function entryOf({
  kind,
  name,
  bytes,
  shared,
  lastUsed,
  isInUse,
}: MeasuredThing): StoreEntry {
  const sharedBytes = Object.values(shared).reduce((sum, own) => sum + own, 0);
  return {
    kind,
    name,
    bytes: bytes + sharedBytes,
    sharedBytes,
    lastUsed: new Date(lastUsed),
    inUse: isInUse,
  };
}

function kindsOf(things: readonly MeasuredThing[]): readonly StoreKindUsage[] {
  const groups = new Map<string, MeasuredThing[]>();
  const inOrder = STORE_KINDS.flatMap((kind) => things.filter((thing) => thing.kind === kind));
  for (const thing of inOrder) {
    const key = `${thing.kind} ${thing.idMap ?? ""}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [thing]);
    else group.push(thing);
  }
  let before: readonly MeasuredThing[] = [];
  let sum = 0;
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    before = before.concat(group);
    const bytes = totalBytes(before) - sum;
    sum += bytes;
    const { kind, idMap } = first;
    const lastUsed = new Date(group.reduce((latest, one) => Math.max(latest, one.lastUsed), 0));
    const map = idMap === undefined ? {} : { idMap };
    return [{ kind, ...map, count: group.length, bytes, lastUsed }];
  });
}
