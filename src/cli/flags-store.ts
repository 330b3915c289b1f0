import type { FlagName, FlagSpec } from "./flags.js";

/** About the store: what builds keep in it, and who looks after it. */
export const STORE_FLAGS = [
  {
    name: "store",
    type: "string",
    value: "DIR",
    group: "Environment",
    help: "where blobs and layers are kept between builds (default ~/.cache/tsbuild)",
  },
  {
    name: "keep-storage",
    type: "string",
    value: "SIZE",
    group: "Store",
    help: "what the store may keep: 20GB, 10% of the disk, none: no bound (also TSBUILD_KEEP_STORAGE; default 80% of the disk, 100 GB at most, while a fifth of it is free)",
  },
  {
    name: "older-than",
    type: "string",
    value: "DURATION",
    group: "Store",
    help: "prune: what was not used for so long: 48h, 7d",
  },
  { name: "all", type: "flag", group: "Store", help: "prune: all that no build is using" },
  { name: "dry-run", type: "flag", group: "Store", help: "prune: says what would go" },
  {
    name: "filter",
    type: "list",
    value: "type=KIND",
    group: "Store",
    help: "prune: only blobs, layers, indexes, caches, records, stat, downloads, git or staging; may be repeated",
  },
  { name: "verbose", type: "flag", group: "Store", help: "du, prune: every entry (du: also -v)" },
  { name: "repair", type: "flag", group: "Store", help: "store check: deletes what is damaged" },
] as const satisfies readonly FlagSpec[];

type StoreFlag = (typeof STORE_FLAGS)[number]["name"];

const COMMON = ["store", "kaniko-dir", "format", "verbosity"] as const;
const OF_COMMAND: Readonly<Record<"du" | "prune" | "store check", ReadonlySet<FlagName>>> = {
  du: new Set<FlagName>([...COMMON, "verbose"]),
  prune: new Set<FlagName>([
    ...COMMON,
    ...(["keep-storage", "older-than", "all", "dry-run", "filter", "verbose"] as const),
  ]),
  "store check": new Set<FlagName>([...COMMON, "repair"]),
};
const OF_BUILDS: ReadonlySet<StoreFlag> = new Set<StoreFlag>(["store", "keep-storage"]);

/** The first of the flags that the command would ignore. */
export function strayFlag(command: string, given: Iterable<FlagName>): FlagName | undefined {
  const own = Object.hasOwn(OF_COMMAND, command)
    ? OF_COMMAND[command as keyof typeof OF_COMMAND]
    : undefined;
  const others = STORE_FLAGS.map(({ name }) => name).filter((name) => !OF_BUILDS.has(name));
  const isStray = (name: FlagName): boolean =>
    own === undefined ? others.some((other) => other === name) : !own.has(name);
  return [...given].find(isStray);
}
