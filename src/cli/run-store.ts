import { checkStore, prune, storeUsage } from "../index.js";
import type { PruneOptions, StoreOptions } from "../index.js";
import { kanikoDirectory, storeBeside } from "./in-place.js";
import type { ParsedFlags } from "./parse-flags.js";
import { checkedText, prunedText, usageText } from "./render/store.js";
import { UsageError } from "./usage-error.js";

type Environment = Readonly<Record<string, string | undefined>>;
type Kinds = NonNullable<PruneOptions["kinds"]>;

/** STORE_FAILED */
const DAMAGED = 74;
/** BuildKit's names of what we have, too. */
const BUILDKIT_KINDS: Readonly<Record<string, Kinds>> = {
  regular: ["blobs", "layers", "indexes", "records"],
  "exec.cachemount": ["caches"],
  "source.git.checkout": ["git"],
  "source.local": ["stat"],
};

/** What the commands about the store have in common. */
export interface StoreRun {
  readonly flags: ParsedFlags;
  readonly environment: Environment;
  readonly out: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/** Prints what the store takes. @returns the exit code */
export async function runDu(run: StoreRun): Promise<number> {
  const found = await storeUsage(optionsOf(run));
  const isVerbose = run.flags.one.get("verbose") === "true";
  if (isJson(run)) {
    const { entries, ...summary } = found;
    printJson(run, isVerbose ? { ...summary, entries } : summary);
  } else run.out.write(usageText(found, isVerbose));
  return 0;
}

/** Makes the store smaller and prints what went. @returns the exit code: 74 when some of it could not be deleted */
export async function runPrune(run: StoreRun): Promise<number> {
  const { one, many } = run.flags;
  const filters = (many.get("filter") ?? []).map(readFilter);
  const kinds = filters.flatMap((filter) => filter.kinds ?? []);
  const olderThan = one.get("older-than") ?? filters.find(({ age }) => age !== undefined)?.age;
  const keepStorage = one.get("keep-storage");
  if (keepStorage === "none") throw new UsageError("--keep-storage=none leaves nothing to prune");
  const result = await prune({
    ...optionsOf(run),
    all: one.get("all") === "true",
    dryRun: one.get("dry-run") === "true",
    ...(keepStorage === undefined ? {} : { keepStorage }),
    ...(olderThan === undefined ? {} : { olderThan }),
    ...(kinds.length === 0 ? {} : { kinds }),
  });
  if (isJson(run)) printJson(run, result);
  else run.out.write(prunedText(result, one.get("verbose") === "true"));
  return result.problems.length === 0 ? 0 : DAMAGED;
}

/** Prints what is damaged. @returns the exit code: 74 when something is, and stays */
export async function runStoreCheck(run: StoreRun): Promise<number> {
  const found = await checkStore({
    ...optionsOf(run),
    repair: run.flags.one.get("repair") === "true",
  });
  if (isJson(run)) printJson(run, found);
  else run.out.write(checkedText(found));
  return found.faults.every(({ repaired }) => repaired) ? 0 : DAMAGED;
}

function optionsOf({ flags, environment, signal }: StoreRun): StoreOptions {
  const store =
    flags.one.get("store") ?? storeBeside(kanikoDirectory(flags, environment), environment);
  return { environment, signal, ...(store === undefined ? {} : { store }) };
}

function isJson({ flags }: StoreRun): boolean {
  return flags.one.get("format") === "json";
}

function printJson({ out }: StoreRun, value: unknown): void {
  out.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** docker's and buildctl's spellings: `type=KIND`, `type==KIND`, `until=24h`, `unused-for=24h`. */
function readFilter(text: string): { readonly kinds?: Kinds; readonly age?: string } {
  const [, name, value = ""] = /^([a-z-]+)==?(.+)$/.exec(text) ?? [];
  if (name === "until" || name === "unused-for") return { age: value };
  // What is no kind the library refuses, with those that are.
  if (name === "type") return { kinds: BUILDKIT_KINDS[value] ?? ([value] as unknown as Kinds) };
  throw new UsageError(`--filter cannot be "${text}"`, "expected type=KIND or until=DURATION");
}
