import { TsbuildError } from "../errors.js";
import {
  bytesToKeep,
  defaultBound,
  diskOf,
  type PrunePolicy,
  pruneStore,
  STORE_KINDS,
  type StoreKind,
} from "../store/index.js";
import { readKeepStorage } from "./store-bound.js";
import { type StoreOptions, tendStore } from "./store-open.js";
import { parseDuration, parseSize } from "./store-size.js";
import { entryOf, type StoreEntry } from "./store-usage.js";

/**
 * What may go: without `all`, `keepStorage` and `olderThan`, what is above the bound that builds keep to. With several of
 * them, only what each allows. What a build that goes on uses never goes; what dead ones left always does.
 */
export interface PruneOptions extends StoreOptions {
  /** Everything that no build is using. */
  readonly all?: boolean;
  /** Bytes, `10GB` or `20%` of the disk: of more, what was not used for longest goes. */
  readonly keepStorage?: number | string;
  /** Milliseconds, or `48h`, `7d`: what was not used for so long. */
  readonly olderThan?: number | string;
  /** Only these kinds. */
  readonly kinds?: readonly StoreKind[];
  /** Only says what would go. */
  readonly dryRun?: boolean;
}

export interface PruneResult {
  readonly store: string;
  /** In the order in which it went. */
  readonly removed: readonly StoreEntry[];
  /** On the disk. */
  readonly bytesFreed: number;
  readonly bytesLeft: number;
  readonly dryRun: boolean;
  /** What could not be deleted, one sentence each. */
  readonly problems: readonly string[];
}

/** Makes the store smaller; builds may go on meanwhile. @throws TsbuildError USAGE, STORE_FAILED, ABORTED */
export async function prune(options: PruneOptions = {}): Promise<PruneResult> {
  const { dryRun = false } = options;
  const read = policyOf(options);
  const { store, result } = await tendStore(options, async ({ root, ...tended }) =>
    pruneStore(root, { policy: read(root), ...tended, isBuilding: false, dryRun, waits: true }),
  );
  const { removed = [], bytesFreed = 0, bytesLeft = 0, problems = [] } = result ?? {};
  return { store, removed: removed.map(entryOf), bytesFreed, bytesLeft, dryRun, problems };
}

/** Wrong options are found before a store is opened. */
function policyOf(options: PruneOptions): (root: string) => PrunePolicy {
  const { all = false, olderThan, kinds, environment = {} } = options;
  const wrong = kinds?.find((kind) => !STORE_KINDS.includes(kind) || kind === "other");
  if (wrong !== undefined) {
    throw new TsbuildError("USAGE", `there is no kind "${String(wrong)}" to prune`, {
      hint: `expected one of ${STORE_KINDS.filter((kind) => kind !== "other").join(", ")}`,
    });
  }
  const age = olderThan === undefined ? undefined : parseDuration(olderThan, "older-than");
  const isBounded = options.keepStorage !== undefined || (!all && age === undefined);
  // What builds keep to is for whoever says nothing else.
  const keepStorage = readKeepStorage(options.keepStorage, isBounded ? environment : {});
  return (root) => ({
    ...(age === undefined ? {} : { olderThanMs: age }),
    ...(kinds === undefined ? {} : { kinds: new Set(kinds) }),
    ...(isBounded ? { keepBytes: (bytes) => keep(root, bytes, keepStorage) } : {}),
  });
}

async function keep(
  root: string,
  bytes: number,
  keepStorage: number | string | undefined,
): Promise<number> {
  if (keepStorage === "none") return bytes;
  const disk = await diskOf(root);
  return keepStorage === undefined
    ? bytesToKeep(bytes, disk, defaultBound(disk))
    : parseSize(keepStorage, "keep-storage", disk.total);
}
