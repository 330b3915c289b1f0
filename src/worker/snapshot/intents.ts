import type { BigIntStats } from "node:fs";
import type { FileEntry } from "../../layer/types.js";

const MODE_BITS = 0o7777;
const OWNER_ALL = 0o700;
const OWNER_READ_WRITE = 0o600;
const CAPABILITY = "security.capability";

/** What an entry is in its image, where a file of an ordinary user cannot be that. */
export interface Intent {
  readonly uid: number;
  readonly gid: number;
  /** With the set-id and sticky bits. */
  readonly mode: number;
  /** What the file was given instead: while it has that, `mode` counts. */
  readonly diskMode: number;
  /** Those that only root can set, sorted by name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** Of the file when this was written: another one with its number is another file. */
  readonly bornNs: bigint;
  /** Likewise: once it is another, the content is, and file capabilities are gone. */
  readonly mtimeNs: bigint;
}

/** Intents by inode number, of one root; an entry that has none is root's, and what its file is. Can be cloned into another thread. */
export type Intents = Map<bigint, Intent>;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}
export const ROOT_OWNER: Owner = { uid: 0, gid: 0 };

/** A mode that does not lock its owner out, who is not root: whatever is in the image must be read, replaced and deleted. */
export function diskModeOf({ type, mode }: Pick<FileEntry, "type" | "mode">): number {
  if (type === "directory") return mode | OWNER_ALL;
  return type === "file" ? mode | OWNER_READ_WRITE : mode;
}

/** Whether its owner may set the attribute: all of a file's own, and none of a symlink's. */
export function isOrdinary(name: string, type: FileEntry["type"]): boolean {
  return name.startsWith("user.") && (type === "file" || type === "directory");
}

/** What is to be remembered of an entry that was just made. */
export function rememberEntry(intents: Intents, entry: FileEntry, stats: BigIntStats): void {
  const { uid, gid, mode, type } = entry;
  const xattrs = new Map([...entry.xattrs].filter(([name]) => !isOrdinary(name, type)));
  const diskMode = diskModeOf(entry);
  const isPlain = uid === 0 && gid === 0 && mode === diskMode && xattrs.size === 0;
  if (isPlain) intents.delete(stats.ino);
  else {
    const { birthtimeNs: bornNs, mtimeNs } = stats;
    intents.set(stats.ino, { uid, gid, mode, diskMode, xattrs, bornNs, mtimeNs });
  }
}

/** What is remembered of the file that `stats` are of. */
export function intentOf(intents: Intents, stats: BigIntStats): Intent | undefined {
  const found = intents.get(stats.ino);
  return found?.bornNs === stats.birthtimeNs ? found : undefined;
}

/** The entry as it is meant: `entry` is what its file says. */
export function intendedEntry(
  entry: FileEntry,
  intent: Intent | undefined,
  stats: BigIntStats,
): FileEntry {
  if (intent === undefined) return { ...entry, ...ROOT_OWNER };
  const { uid, gid, diskMode } = intent;
  const mode = entry.mode === diskMode ? intent.mode : entry.mode;
  const isSame = stats.mtimeNs === intent.mtimeNs || entry.type === "directory";
  const hidden = [...intent.xattrs].filter(([name]) => name !== CAPABILITY || isSame);
  const all = [...entry.xattrs, ...hidden];
  const xattrs = new Map(all.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return { ...entry, uid, gid, mode, xattrs };
}

/** Says of a file whose mode shuts its owner out, and was therefore changed, what it was. */
export function rememberMode(
  intents: Intents,
  stats: BigIntStats,
  diskMode: number,
  owner: Owner,
): void {
  const { ino, birthtimeNs: bornNs, mtimeNs } = stats;
  const known = intentOf(intents, stats) ?? { ...owner, xattrs: new Map(), bornNs, mtimeNs };
  intents.set(ino, { ...known, mode: Number(stats.mode) & MODE_BITS, diskMode });
}

/** Says whose a file is that a step has made. */
export function rememberOwner(intents: Intents, stats: BigIntStats, { uid, gid }: Owner): void {
  const { ino, birthtimeNs: bornNs, mtimeNs } = stats;
  if (uid === 0 && gid === 0) {
    intents.delete(ino);
    return;
  }
  const mode = Number(stats.mode) & MODE_BITS;
  intents.set(ino, { uid, gid, mode, diskMode: mode, xattrs: new Map(), bornNs, mtimeNs });
}

/** That a step gave a file away. */
export interface Given {
  readonly bornNs: bigint;
  readonly mtimeNs: bigint;
  /** What its mode was then. */
  readonly mode: number;
  /** Absent: as it was. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

/** @param maker Whose files are of which nothing is remembered. */
export function rememberGiven(
  intents: Intents,
  given: ReadonlyMap<bigint, Given>,
  maker: Owner,
): void {
  for (const [ino, { bornNs, mtimeNs, mode, uid, gid }] of given) {
    const found = intents.get(ino);
    const known = found?.bornNs === bornNs ? found : undefined;
    const before = known ?? { ...maker, mode, diskMode: mode, xattrs: new Map(), bornNs, mtimeNs };
    intents.set(ino, { ...before, uid: uid ?? before.uid, gid: gid ?? before.gid });
  }
}
