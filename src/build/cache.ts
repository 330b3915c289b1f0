import { messageOf } from "../errors.js";
import { redactUrl } from "../internal/redact.js";
import type { Image } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import { isLossy } from "../solver/cache/lossy.js";
import { storeBook, storeMemory } from "../solver/cache/store-book.js";
import type { CacheInput, RecordBook } from "../solver/cache/types.js";
import type { LayerFaults } from "../solver/layer-faults.js";
import type { Emit } from "../solver/types.js";
import type { Store } from "../store/types.js";
import type { Worker } from "../worker/types.js";
import { CollectedRecords } from "./cache/collected.js";
import { keyBook, type BackgroundBook } from "./cache/key-book.js";
import { repositoryPlan, sourcePlan, targetPlan } from "./cache/options.js";
import { pageBook } from "./cache/page-book.js";
import { pageOf, RECORDS, writtenEntries } from "./cache/page.js";
import type { CachePlace } from "./cache/place.js";
import { openPlace } from "./cache/open-place.js";
import type { Cleanup } from "./cleanup.js";
import type { BuildOptions, CacheTarget } from "./options.js";
import type { Repositories } from "./repositories.js";
import type { Uploads } from "./uploads.js";

export interface OpenCacheInput {
  /** The directory of the main context. */
  readonly context: string;
  readonly store: Store;
  readonly faults: LayerFaults;
  readonly registry: Registry;
  readonly uploads: Uploads;
  readonly repositories: Repositories;
  readonly worker: () => Promise<Worker>;
  readonly cleanup: Cleanup;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** A build's cache, and what is done with it when everything is built. */
export interface OpenCache {
  readonly input: CacheInput;
  /**
   * Further fields of an image's config: the records of its layers, where that is asked for.
   * @param created RFC 3339: what they are to say of their time, where the image must not depend on when it is built
   */
  readonly fields: (image: Image, created?: string) => Readonly<Record<string, unknown>>;
  /** Writes what was made to where the options say. A failure is a notice. */
  readonly write: (images: readonly Image[]) => Promise<void>;
  /** Resolves when what was made is where it belongs, or was given up. Also for a build that failed. */
  readonly settled: () => Promise<void>;
}

/** The cache as the options want it; `undefined`: none. @throws TsbuildError USAGE */
export async function openCache(
  options: BuildOptions,
  input: OpenCacheInput,
): Promise<OpenCache | undefined> {
  if (options.cache === false) return undefined;
  const { context, store, worker, cleanup, emit } = input;
  const { cacheTo = [], cacheFrom = [] } = options;
  const books: RecordBook[] = [storeBook(store)];
  const repository = openRepository(options, input);
  if (repository !== undefined) books.push(repository.book);
  for (const source of cacheFrom) {
    const { place, name } = sourcePlan(source);
    books.push(pageBook(openPlace(place, input), name, emit));
  }
  const collected = cacheTo.length === 0 ? undefined : new CollectedRecords();
  if (collected !== undefined) books.push(collected);
  const targets = cacheTo.flatMap((target) => openTarget(target, input) ?? []);
  const sendsAll = targets.some(({ mode }) => mode === "max");
  const stats = store.statCache(context);
  // Also after a failure: what was read need not be read again.
  cleanup.use({ [Symbol.asyncDispose]: () => stats.save() });
  const ignored = stageFilter(options);
  const isInline = cacheTo.some(({ type }) => type === "inline");
  return {
    input: {
      books,
      sends: (kind) => sendsAll || (repository?.sends && repository.book.keeps?.(kind)) === true,
      memory: storeMemory(store.records),
      scope: [redactUrl(options.context), options.dockerfile ?? "", options.platform ?? ""].join(
        " ",
      ),
      digests: stats,
      reads: (stage) => !ignored(stage),
      acceptsLossy: async () => {
        if (options.strict === true) return false;
        return isLossy((await worker()).host.driver);
      },
    },
    fields: (image, created) => {
      const entries = isInline ? (collected?.of([image], created) ?? []) : [];
      return entries.length === 0 ? {} : { [RECORDS]: writtenEntries(entries) };
    },
    write: async (images) => {
      for (const target of targets) await writeTarget(target, images, collected, input);
    },
    settled: () => repository?.book.settled() ?? Promise.resolve(),
  };
}

function openRepository(
  options: BuildOptions,
  input: OpenCacheInput,
): { readonly book: BackgroundBook; readonly sends: boolean } | undefined {
  const plan = repositoryPlan(options);
  return plan && { book: keyBook(openPlace(plan.place, input), plan, input), sends: plan.puts };
}

interface Target {
  readonly place: CachePlace;
  readonly tag: string;
  readonly mode: "min" | "max";
}

function openTarget(target: CacheTarget, input: OpenCacheInput): Target | undefined {
  if (target.type === "inline") return undefined;
  const { place, tag } = targetPlan(target);
  return { place: openPlace(place, input), tag, mode: target.mode ?? "min" };
}

async function writeTarget(
  { place, tag, mode }: Target,
  images: readonly Image[],
  collected: CollectedRecords | undefined,
  { emit, signal }: OpenCacheInput,
): Promise<void> {
  const entries = mode === "max" ? collected?.all() : collected?.of(images);
  try {
    await place.put(tag, pageOf(entries ?? []), signal);
  } catch (error) {
    signal.throwIfAborted();
    const message = `the cache ${place.name}:${tag} is not written: ${messageOf(error)}`;
    emit({ type: "notice", message });
  }
}

/** Stages have their names in any case. */
function stageFilter({ noCache }: BuildOptions): (stage: string) => boolean {
  if (noCache === undefined || noCache === false) return () => false;
  if (noCache === true) return () => true;
  const names = new Set(noCache.map((name) => name.toLowerCase()));
  return (stage) => names.has(stage.toLowerCase());
}
