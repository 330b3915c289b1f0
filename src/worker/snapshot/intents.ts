import type { BigIntStats } from "node:fs";
import type { FileEntry } from "../../layer/types.js";
import { S_IFBLK, S_IFCHR } from "../linux/files.js";
import type { FsPath } from "../root-names.js";
import { CAPABILITY, type ContentStamp, hasContent, stampContent } from "./capability.js";

const MODE_BITS = 0o7777;
const OWNER_ALL = 0o700;
const OWNER_READ_WRITE = 0o600;

/** A device node, in whose place a socket stands: nobody can open one either. */
export interface Device {
  readonly type: "char" | "block";
  readonly major: number;
  readonly minor: number;
}

/** What an entry is in its image, where a file of an ordinary user cannot be that. Its {@link ContentStamp} is for file capabilities. */
export interface Intent extends ContentStamp {
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
  readonly device?: Device;
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

/** What is to be remembered of an entry that was just made at `at`. */
export function rememberEntry(
  intents: Intents,
  entry: FileEntry,
  at: FsPath,
  stats: BigIntStats,
): void {
  const { uid, gid, mode, type } = entry;
  const xattrs = new Map([...entry.xattrs].filter(([name]) => !isOrdinary(name, type)));
  const diskMode = diskModeOf(entry);
  const device = deviceOf(entry);
  const isPlain = uid === 0 && gid === 0 && mode === diskMode && xattrs.size === 0;
  if (isPlain && device === undefined) {
    intents.delete(stats.ino);
    return;
  }
  const { birthtimeNs: bornNs, mtimeNs } = stats;
  const isCapable = stats.isFile() && xattrs.has(CAPABILITY);
  const stamp = isCapable ? stampContent(at, stats) : { mtimeNs, contentSha256: undefined };
  const intent = { uid, gid, mode, diskMode, xattrs, bornNs, ...stamp };
  intents.set(stats.ino, device === undefined ? intent : { ...intent, device });
}

function deviceOf({ type, devMajor = 0, devMinor = 0 }: FileEntry): Device | undefined {
  if (type !== "char" && type !== "block") return undefined;
  return { type, major: devMajor, minor: devMinor };
}

/** The bits of a mode that say which kind of device it is. */
export function typeBitsOf({ type }: Device): number {
  return type === "char" ? S_IFCHR : S_IFBLK;
}

/** What is remembered of the file that `stats` are of. */
export function intentOf(intents: Intents, stats: BigIntStats): Intent | undefined {
  const found = intents.get(stats.ino);
  return found?.bornNs === stats.birthtimeNs ? found : undefined;
}

/** The entry as it is meant: `entry` is what its file at `at` says. */
export function intendedEntry(
  entry: FileEntry,
  intent: Intent | undefined,
  at: FsPath,
  stats: BigIntStats,
): FileEntry {
  if (intent === undefined) return { ...entry, ...ROOT_OWNER };
  const { uid, gid, diskMode, device } = intent;
  const mode = entry.mode === diskMode ? intent.mode : entry.mode;
  const all = [...entry.xattrs, ...hiddenXattrs(intent, at, stats)];
  const xattrs = new Map(all.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const meant = { ...entry, uid, gid, mode, xattrs };
  if (device === undefined) return meant;
  return { ...meant, type: device.type, devMajor: device.major, devMinor: device.minor };
}

/** The attributes of a file that it cannot have. */
export function hiddenXattrs(
  intent: Pick<Intent, "xattrs"> & ContentStamp,
  at: FsPath,
  stats: BigIntStats,
): ReadonlyMap<string, Uint8Array> {
  const { xattrs } = intent;
  if (!xattrs.has(CAPABILITY) || !stats.isFile() || hasContent(at, stats, intent)) return xattrs;
  return new Map([...xattrs].filter(([name]) => name !== CAPABILITY));
}

/** Says of a file whose mode shuts its owner out, and was therefore changed, what it was. */
export function rememberMode(
  intents: Intents,
  stats: BigIntStats,
  diskMode: number,
  owner: Owner,
): void {
  const known = intentOf(intents, stats) ?? freshIntent(stats, owner);
  intents.set(stats.ino, { ...known, mode: Number(stats.mode) & MODE_BITS, diskMode });
}

/** Says whose a file is that a step has made. */
export function rememberOwner(intents: Intents, stats: BigIntStats, owner: Owner): void {
  const known = intentOf(intents, stats);
  if (known !== undefined) intents.set(stats.ino, { ...known, ...owner });
  else if (owner.uid === 0 && owner.gid === 0) intents.delete(stats.ino);
  else intents.set(stats.ino, freshIntent(stats, owner));
}

/** Of a file that is what it is on the disk, but for its owner. */
export function freshIntent(stats: BigIntStats, { uid, gid }: Owner): Intent {
  const { birthtimeNs: bornNs, mtimeNs } = stats;
  const mode = Number(stats.mode) & MODE_BITS;
  const nothing = { xattrs: new Map<string, Uint8Array>(), contentSha256: undefined };
  return { uid, gid, mode, diskMode: mode, bornNs, mtimeNs, ...nothing };
}

/** What a step did to a file that the kernel would not let it. */
export interface Given {
  readonly bornNs: bigint;
  readonly mtimeNs: bigint;
  /** What its mode was then. */
  readonly mode: number;
  /** Absent: as it was. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** `null`: it has none any more. Absent: as it was. */
  readonly capability?: Capability | null | undefined;
  /** It is one. */
  readonly device?: Device | undefined;
}

/** The value of {@link CAPABILITY}, and what it was given to. */
export interface Capability extends ContentStamp {
  readonly value: Uint8Array;
}

/** @param maker Whose files are of which nothing is remembered. */
export function rememberGiven(
  intents: Intents,
  given: ReadonlyMap<bigint, Given>,
  maker: Owner,
): void {
  for (const [ino, one] of given) {
    const found = intents.get(ino);
    const known = found?.bornNs === one.bornNs ? found : undefined;
    intents.set(ino, afterGiven(known, one, maker));
  }
}

/** What a file is once that was done to it. */
export function afterGiven(known: Intent | undefined, given: Given, maker: Owner): Intent {
  const { bornNs, mtimeNs, mode, uid, gid, capability, device } = given;
  const nothing = { xattrs: new Map<string, Uint8Array>(), contentSha256: undefined };
  const before = known ?? { ...maker, mode, diskMode: mode, bornNs, mtimeNs, ...nothing };
  const owned = { ...before, uid: uid ?? before.uid, gid: gid ?? before.gid };
  const intent = device === undefined ? owned : { ...owned, device };
  if (capability === undefined) return intent;
  const others = [...before.xattrs].filter(([name]) => name !== CAPABILITY);
  if (capability === null) return { ...intent, xattrs: new Map(others) };
  const all = [...others, [CAPABILITY, capability.value] as const];
  return {
    ...intent,
    xattrs: new Map(all.toSorted(([a], [b]) => (a < b ? -1 : 1))),
    mtimeNs: capability.mtimeNs,
    contentSha256: capability.contentSha256,
  };
}
