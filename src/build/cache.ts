import { isLossy } from "../solver/cache/lossy.js";
import { storeBook, storeMemory } from "../solver/cache/store-book.js";
import type { CacheInput } from "../solver/cache/types.js";
import { redactUrl } from "../internal/redact.js";
import type { Store } from "../store/types.js";
import type { Worker } from "../worker/types.js";
import type { Cleanup } from "./cleanup.js";
import type { BuildOptions } from "./options.js";

export interface OpenCacheInput {
  /** The directory of the main context. */
  readonly context: string;
  readonly store: Store;
  readonly worker: () => Promise<Worker>;
  readonly cleanup: Cleanup;
}

/** The cache as the options want it; `undefined`: none. */
export async function openCache(
  options: BuildOptions,
  { context, store, worker, cleanup }: OpenCacheInput,
): Promise<CacheInput | undefined> {
  if (options.cache === false) return undefined;
  const stats = store.statCache(context);
  // Also after a failure: what was read need not be read again.
  cleanup.use({ [Symbol.asyncDispose]: () => stats.save() });
  const ignored = stageFilter(options);
  return {
    books: [storeBook(store.records)],
    memory: storeMemory(store.records),
    scope: [redactUrl(options.context), options.dockerfile ?? "", options.platform ?? ""].join(" "),
    digests: stats,
    reads: (stage) => !ignored(stage),
    acceptsLossy: async () => {
      if (options.strict === true) return false;
      return isLossy((await worker()).host.driver);
    },
  };
}

/** Stages have their names in any case. */
function stageFilter({ noCache }: BuildOptions): (stage: string) => boolean {
  if (noCache === undefined || noCache === false) return () => false;
  if (noCache === true) return () => true;
  const names = new Set(noCache.map((name) => name.toLowerCase()));
  return (stage) => names.has(stage.toLowerCase());
}
