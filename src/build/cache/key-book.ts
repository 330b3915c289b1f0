import { messageOf } from "../../errors.js";
import { createSemaphore } from "../../internal/semaphore.js";
import { RegistryError } from "../../registry/index.js";
import type { CacheKey } from "../../solver/cache/key.js";
import type { RecordBook, StepKind } from "../../solver/cache/types.js";
import type { Emit } from "../../solver/types.js";
import { pageOf, readPage, type Entry } from "./page.js";
import type { CachePlace } from "./place.js";

/** Pages that are looked for at once: one of a registry's four connections is left for whoever else asks it something. */
const LOOKUPS = 3;
/** Pages on their way at once; what they hold is bounded by the uploads. */
const PUTS = 4;

export interface KeyBookOptions {
  readonly keeps: (kind: StepKind) => boolean;
  /** Milliseconds: older records are none. */
  readonly ttl: number;
  /** Whether new records are put there. */
  readonly puts: boolean;
}

/** A book whose writing goes on beside the build. */
export interface BackgroundBook extends RecordBook {
  /** Resolves when nothing is under way any more, whatever came of it. */
  settled(): Promise<void>;
}

/**
 * Records as pages of one, each under its key. A place that fails is said so once, and left alone from then on.
 * `signal`: the build's.
 */
export function keyBook(
  place: CachePlace,
  { keeps, ttl, puts }: KeyBookOptions,
  { emit, signal }: { readonly emit: Emit; readonly signal: AbortSignal },
): BackgroundBook {
  const closed = { reading: false, writing: !puts };
  const running = new Set<Promise<void>>();
  const permits = createSemaphore(PUTS);
  const lookups = createSemaphore(LOOKUPS);
  const fail = (what: keyof typeof closed, error: unknown): void => {
    if (closed[what]) return;
    closed[what] = true;
    const isDead = error instanceof RegistryError && error.status === undefined;
    if (isDead) closed.reading = closed.writing = true;
    const said = isDead
      ? "is not used"
      : what === "reading"
        ? "is not looked into"
        : "is not filled";
    emit({ type: "notice", message: `the cache ${place.name} ${said}: ${messageOf(error)}` });
  };
  const put = async (entry: Entry): Promise<void> => {
    using _permit = await permits.acquire(signal);
    if (!closed.writing) await place.put(entry.key, pageOf([entry]), signal);
  };
  return {
    name: `the cache ${place.name}`,
    has: place.has,
    keeps,
    async find(key, looking) {
      using _permit = await lookups.acquire(looking);
      if (closed.reading) return undefined;
      try {
        const page = await place.manifest({ tag: key }, looking);
        const record = page && readPage(page, (layer) => place.locate(layer)).get(key);
        return record?.kind === "layer" && isOlder(record.created, ttl) ? undefined : record;
      } catch (error) {
        looking.throwIfAborted();
        fail("reading", error);
        return undefined;
      }
    },
    // Not the step's signal: what was made is of use to the next build even when this one fails.
    save(key: CacheKey, record, about) {
      if (closed.writing) return Promise.resolve();
      const putting = put({ key, record, about })
        .catch((error: unknown) => {
          if (!signal.aborted) fail("writing", error);
        })
        .finally(() => running.delete(putting));
      running.add(putting);
      return Promise.resolve();
    },
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

function isOlder(created: string, ttl: number): boolean {
  return Date.parse(created) + ttl < Date.now();
}
