import { type BigIntStats, chmodSync, lstatSync } from "node:fs";
import { packLayer, unpackLayer } from "../../layer/index.js";
import type { FileCalls } from "../linux/files.js";
import type { PlaceCalls } from "../linux/place.js";
import { openBlob } from "../open-blob.js";
import { atRoot } from "../root-names.js";
import { typeOfStats } from "../root-stats.js";
import { openConfinedFs } from "./confined-fs.js";
import type {
  ConfinedScan,
  ConfinedScanJob,
  ConfinedSealJob,
  ConfinedUnpacked,
  ConfinedUnpackJob,
  SealedConfined,
} from "./confined-jobs.js";
import {
  diskModeOf,
  intendedEntry,
  intentOf,
  type Intents,
  type Owner,
  rememberMode,
  rememberOwner,
  ROOT_OWNER,
  typeBitsOf,
} from "./intents.js";
import { awaitClock, compareScan, scan, scanChanges } from "./scan.js";
import { inodeOf, isDirectoryStamp, openScanCursor, type ScanRecords } from "./scan-records.js";
import type { Change } from "./types.js";

/** Of the worker's process between jobs; steps are given it by their own first process. */
const UMASK = 0o022;
const MODE_BITS = 0o7777;

export interface ConfinedPlace {
  readonly calls: FileCalls;
  readonly place: PlaceCalls;
}

/**
 * Works with the root as the working directory, for which there is no other confinement than that no symlink is
 * followed. Directory and umask are those of the whole process: one such job at a time.
 */
async function within<T>(
  { place }: ConfinedPlace,
  directory: string,
  work: () => Promise<T>,
): Promise<T> {
  place.chdir(directory);
  place.umask(0);
  try {
    return await work();
  } finally {
    place.umask(UMASK);
    place.chdir("/");
  }
}

export async function unpackConfined(
  at: ConfinedPlace,
  { directory, layer, indexFile, idMap, intents }: ConfinedUnpackJob,
  signal: AbortSignal,
): Promise<ConfinedUnpacked> {
  using rootFs = openConfinedFs({ calls: at.calls, idMap, intents });
  using blob = openBlob(layer);
  const { compression, diffId } = layer;
  const unpacked = await within(at, directory, () =>
    unpackLayer(blob.source(signal), rootFs, {
      compression,
      diffId,
      index: indexFile,
      whiteouts: "apply",
      place: directory,
      signal,
    }),
  );
  return { ...unpacked, skipped: rootFs.skipped, intents };
}

export async function scanConfined(
  at: ConfinedPlace,
  { directory, probe, intents }: ConfinedScanJob,
  signal: AbortSignal,
): Promise<ConfinedScan> {
  const calls = unlocking(at.calls, intents, ROOT_OWNER);
  const records = await within(at, directory, async () => scan(calls, signal));
  awaitClock(records, probe);
  return { records, intents };
}

export async function sealConfined(
  at: ConfinedPlace,
  job: ConfinedSealJob,
  signal: AbortSignal,
): Promise<SealedConfined> {
  const { directory, probe, before, restored, target, intents, known, maker } = job;
  const { options, blobFile: blobPath, indexFile: indexPath } = target;
  return within(at, directory, async () => {
    const calls = unlocking(at.calls, intents, maker);
    const difference = compareScan(calls, { before, restored: new Set(restored) }, signal);
    const replaced = inodesAt(before, new Set(difference.written));
    const changes = scanChanges(calls, difference, options.clampMtimeNs);
    const intended = intendedChanges(changes, { intents, known, replaced, maker });
    const layer = await packLayer(intended, { ...options, blobPath, indexPath, signal });
    // Clamping times moved ctimes: then the comparison's own records are no longer the truth.
    const after = options.clampMtimeNs === undefined ? difference.after : scan(calls, signal);
    awaitClock(after, probe);
    return { layer, after, intents: stillThere(intents, after) };
  });
}

/**
 * Looks at an entry and, where its mode shuts its owner out of what is in it, opens it and remembers the mode: a step's
 * root may take every right from itself, and has them all the same.
 */
function unlocking(calls: FileCalls, intents: Intents, maker: Owner): FileCalls {
  return {
    ...calls,
    statx(path, into) {
      if (!calls.statx(path, into)) return false;
      showDevice(into, path, intents);
      const mode = into.readUInt16LE(STATX_MODE);
      if (!shutsOut(mode)) return true;
      const stats = lstatSync(path, { bigint: true });
      const diskMode = diskModeOf({ type: typeOfStats(stats), mode: mode & MODE_BITS });
      rememberMode(intents, stats, diskMode, maker);
      chmodSync(path, diskMode);
      return calls.statx(path, into);
    },
  };
}

/** Offset in the kernel's `struct statx`. */
const STATX_MODE = 28;
const STATX_INODE = 32;
const STATX_DEVICE = 128;
const [S_IFMT, S_IFDIR, S_IFREG, S_IFSOCK] = [0o170000, 0o040000, 0o100000, 0o140000];

/** A socket that stands for a device node is compared as the device. */
function showDevice(statx: Buffer, path: string | Buffer, intents: Intents): void {
  const mode = statx.readUInt16LE(STATX_MODE);
  if ((mode & S_IFMT) !== S_IFSOCK) return;
  if (intents.get(statx.readBigUInt64LE(STATX_INODE))?.device === undefined) return;
  const device = intentOf(intents, lstatSync(path, { bigint: true }))?.device;
  if (device === undefined) return;
  statx.writeUInt16LE((mode & ~S_IFMT) | typeBitsOf(device), STATX_MODE);
  statx.writeUInt32LE(device.major, STATX_DEVICE);
  statx.writeUInt32LE(device.minor, STATX_DEVICE + 4);
}

function shutsOut(mode: number): boolean {
  const type = mode & S_IFMT;
  if (type === S_IFDIR) return (mode & 0o700) !== 0o700;
  return type === S_IFREG && (mode & 0o600) !== 0o600;
}

/** What stood at these paths: inode numbers of what was no directory, since programs replace files as a whole. */
function inodesAt(
  before: ScanRecords,
  paths: ReadonlySet<string>,
): ReadonlyMap<string, { readonly ino: bigint; readonly isDirectory: boolean }> {
  const found = new Map<string, { readonly ino: bigint; readonly isDirectory: boolean }>();
  for (const cursor = openScanCursor(before); cursor.path !== undefined; cursor.next()) {
    if (!paths.has(cursor.path)) continue;
    const { path, stamp } = cursor;
    found.set(path, { ino: inodeOf(stamp), isDirectory: isDirectoryStamp(stamp) });
  }
  return found;
}

interface Ownership {
  readonly intents: Intents;
  readonly known: Intents;
  readonly replaced: ReturnType<typeof inodesAt>;
  readonly maker: Owner;
}

/** The changes with the owners that are meant, which are remembered for what was made. */
function* intendedChanges(
  changes: Iterable<Change>,
  ownership: Ownership,
): Generator<Change, void, undefined> {
  for (const change of changes) {
    if (change.kind !== "write") {
      yield change;
      continue;
    }
    const at = atRoot(change.path);
    const stats = lstatSync(at, { bigint: true });
    const owner = ownerOf(change.path, stats, ownership);
    if (owner !== undefined) rememberOwner(ownership.intents, stats, owner);
    const intent = intentOf(ownership.intents, stats);
    yield { ...change, entry: intendedEntry(change.entry, intent, at, stats) };
  }
}

/**
 * Whose a file is of which nothing is remembered: who changes a file by putting another in its place, as editors and
 * passwd do, gives it the old one's owner; that this one could not do so shows nowhere.
 */
function ownerOf(
  path: string,
  stats: BigIntStats,
  { intents, known, replaced, maker }: Ownership,
): Owner | undefined {
  const intent = intentOf(intents, stats);
  const before = replaced.get(path);
  const isOther = before?.ino !== stats.ino;
  const isAlike = before !== undefined && before.isDirectory === stats.isDirectory();
  const inherited = isOther && isAlike ? (known.get(before.ino) ?? ROOT_OWNER) : undefined;
  // Who asks whose the old one is hears that it is root's, and so gives the new one to root.
  if (intent !== undefined) return isRoots(intent) ? inherited : undefined;
  return isOther ? (inherited ?? maker) : undefined;
}

function isRoots({ uid, gid }: Owner): boolean {
  return uid === 0 && gid === 0;
}

/** Without those of files that are gone. */
function stillThere(intents: Intents, records: ScanRecords): Intents {
  const kept: Intents = new Map();
  for (const cursor = openScanCursor(records); cursor.path !== undefined; cursor.next()) {
    const ino = inodeOf(cursor.stamp);
    const intent = intents.get(ino);
    if (intent !== undefined) kept.set(ino, intent);
  }
  return kept;
}
