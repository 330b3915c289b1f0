import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../errors.js";
import { referencesOf, type StoreKind } from "./contents.js";
import { readHashed } from "./hashed-file.js";
import type { MeasuredThing } from "./usage.js";

/** Something in a store that is not what its name says. */
export interface StoreProblem {
  readonly thing: MeasuredThing;
  /** One clause. */
  readonly because: string;
}

/** Reads what the store itself only keeps. */
export interface LayerFacts {
  /** What is wrong with the file as the index of that layer; `undefined`: nothing. */
  checkIndex(path: string, diffId: string): string | undefined;
  /** What of the index's entries is missing or different in the directory; `undefined`: nothing that was looked at. */
  checkLayer(thing: MeasuredThing, indexPath: string | undefined): string | undefined;
}

/** What {@link findProblems} found. */
export interface StoreCheck {
  readonly problems: readonly StoreProblem[];
  /** Things that were looked at. */
  readonly checked: number;
  /** Records of layers whose blobs are not here: a registry may have them, else they only miss. */
  readonly recordsElsewhere: number;
}

/** Looks at everything, reading every blob. Several builds may go on meanwhile. */
export async function findProblems(
  root: string,
  things: readonly MeasuredThing[],
  facts: LayerFacts,
  signal: AbortSignal,
): Promise<StoreCheck> {
  const problems: StoreProblem[] = [];
  const blobs = new Set(things.filter(({ kind }) => kind === "blobs").map(({ name }) => name));
  let recordsElsewhere = 0;
  for (const thing of things) {
    signal.throwIfAborted();
    const because = thing.isLeftover
      ? "a process that is dead has left it behind"
      : await problemOf(root, thing, facts, signal);
    if (because !== undefined) problems.push({ thing, because });
    if (thing.kind !== "records") continue;
    const references = referencesOf(thing.path) ?? [];
    if (references.some(({ digest }) => !blobs.has(digest))) recordsElsewhere += 1;
  }
  return { problems, checked: things.length, recordsElsewhere };
}

async function problemOf(
  root: string,
  thing: MeasuredThing,
  facts: LayerFacts,
  signal: AbortSignal,
): Promise<string | undefined> {
  const check = CHECKS[thing.kind];
  if (check === undefined) return undefined;
  try {
    return await check(thing, { root, facts, signal });
  } catch (error) {
    signal.throwIfAborted();
    // Deleted meanwhile.
    if ((await stat(thing.path).catch(() => undefined)) === undefined) return undefined;
    return messageOf(error);
  }
}

interface Checking {
  readonly root: string;
  readonly facts: LayerFacts;
  readonly signal: AbortSignal;
}
type Check = (thing: MeasuredThing, checking: Checking) => Promise<string | undefined>;

const CHECKS: Readonly<Partial<Record<StoreKind, Check>>> = {
  blobs: async ({ path, name }, { signal }) => {
    const reading = readHashed(path, { signal });
    for (;;) {
      const { done, value } = await reading.next();
      if (!done) continue;
      return value.digest === name ? undefined : `its ${value.size} bytes hash to ${value.digest}`;
    }
  },
  indexes: ({ path, name }, { facts }) => Promise.resolve(facts.checkIndex(path, name)),
  layers: async (thing, { root, facts }) => {
    const [, diffId] = /\/([0-9a-f]{64})$/.exec(thing.name) ?? [];
    const index = diffId === undefined ? undefined : join(root, "indexes", diffId);
    const isKnown = index !== undefined && (await isFile(index));
    return facts.checkLayer(thing, isKnown ? index : undefined);
  },
  records: ({ path }) =>
    Promise.resolve(referencesOf(path) === undefined ? "it is no record" : undefined),
  downloads: async ({ path }) => {
    JSON.parse(await readFile(path, "utf8"));
    return undefined;
  },
};

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
