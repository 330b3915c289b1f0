import { lstatSync, type Stats } from "node:fs";
import { join } from "node:path";
import { errnoOf, messageOf } from "../errors.js";
import { encodeName, type LayerIndex, openIndexFile } from "../layer/index.js";
import {
  findProblems,
  type LayerFacts,
  type MeasuredThing,
  measureStore,
  removeThings,
} from "../store/index.js";
import type { StoreKind } from "../store/index.js";
import { type StoreOptions, tendStore } from "./store-open.js";

export interface CheckStoreOptions extends StoreOptions {
  /** Deletes what is wrong; it is fetched or made anew when a build needs it. */
  readonly repair?: boolean;
}

/** Something in the store that is not what its name says, or that nobody can use. */
export interface StoreFault {
  readonly kind: StoreKind;
  readonly name: string;
  readonly path: string;
  /** One clause. */
  readonly because: string;
  /** It is gone. */
  readonly repaired: boolean;
}

export interface CheckedStore {
  readonly store: string;
  /** Things that were looked at. */
  readonly checked: number;
  readonly faults: readonly StoreFault[];
  /** Records of layers whose blobs are not here: a registry may have them; else they are of no use, and do no harm. */
  readonly recordsElsewhere: number;
}

/** Entries of a layer that are looked for in its directory: those nearest to its root. */
const MOST_ENTRIES = 1000;
const SLASH = Buffer.of(0x2f);
/** What a layer has that is mounted instead of unpacked. */
const MOUNTED = ["layer.tar", "layer.erofs"] as const;

/**
 * Reads all of a store, and says what is damaged. Builds may go on meanwhile, and keep what they use.
 * @throws TsbuildError USAGE, STORE_FAILED (also for another version), ABORTED
 */
export async function checkStore(options: CheckStoreOptions = {}): Promise<CheckedStore> {
  const { store, result } = await tendStore(options, async ({ root, ...tended }) => {
    const { staging, namespaces, signal } = tended;
    const things = await measureStore(root, { namespaces, own: staging, signal });
    const found = await findProblems(root, things, FACTS, signal);
    const damaged = found.problems.map(({ thing }) => thing);
    const gone =
      options.repair === true && damaged.length > 0
        ? await removeThings(root, damaged, { ...tended, isBuilding: false })
        : new Set<MeasuredThing>();
    return { ...found, gone };
  });
  const { problems = [], gone, checked = 0, recordsElsewhere = 0 } = result ?? {};
  const faults = problems.map(({ thing, because }) => {
    const { kind, name, path } = thing;
    return { kind, name, path, because, repaired: gone?.has(thing) === true };
  });
  return { store, checked, faults, recordsElsewhere };
}

const FACTS: LayerFacts = {
  checkIndex(path, diffId) {
    try {
      const index = openIndexFile(path);
      return index.diffId === diffId ? undefined : `it is that of layer ${index.diffId}`;
    } catch (error) {
      return messageOf(error).replace("tried to open a layer's index: ", "");
    }
  },
  checkLayer({ path }, indexPath) {
    const [tar, image] = MOUNTED.map((name) => look(Buffer.from(join(path, name))));
    if (tar !== undefined || image !== undefined) {
      return tar === undefined || image === undefined ? "half of it is missing" : undefined;
    }
    if (indexPath === undefined) return undefined;
    try {
      return checkTree(openIndexFile(indexPath), path);
    } catch {
      // The index is a fault of its own.
      return undefined;
    }
  },
};

/** What of the topmost entries is not as the index has it. */
function checkTree(index: LayerIndex, root: string): string | undefined {
  const directories = [{ node: 0, path: Buffer.from(root) }];
  let looked = 0;
  for (const { node, path } of directories) {
    const { first, count } = index.children(node);
    for (let child = first; child < first + count && looked < MOST_ENTRIES; child++) {
      looked += 1;
      const below = Buffer.concat([path, SLASH, encodeName(index.name(child))]);
      const because = checkEntry(index, child, below);
      if (because !== undefined) return `${below.toString().slice(root.length)} ${because}`;
      if (index.type(child) === "directory") directories.push({ node: child, path: below });
    }
  }
  return undefined;
}

function checkEntry(index: LayerIndex, node: number, path: Buffer): string | undefined {
  const type = index.type(node);
  if (type !== "directory" && type !== "file" && type !== "symlink") return undefined;
  const found = look(path);
  if (found === "closed") return undefined;
  if (found === undefined) return "is missing";
  if (type === "directory") return found.isDirectory() ? undefined : "is no directory";
  if (type === "symlink") return found.isSymbolicLink() ? undefined : "is no symlink";
  if (!found.isFile()) return "is no file";
  const size = index.size(node);
  return found.size === size ? undefined : `has ${found.size} bytes, not ${size}`;
}

/** `closed`: only other ids may see it. */
function look(path: Buffer): Stats | "closed" | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return undefined;
    return "closed";
  }
}
