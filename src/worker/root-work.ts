import { errnoOf, unreachable } from "../errors.js";
import { packLayer, unpackLayer } from "../layer/index.js";
import type { Change, RootFs, SealedLayer } from "../layer/types.js";
import { openBlob } from "./open-blob.js";
import { openRootDoor, type RootDoor } from "./root-enter.js";
import { type LiveRootFs, openRootFs } from "./root-fs.js";
import type {
  ImplyJob,
  RootJob,
  RootPlace,
  RootResult,
  ScanJob,
  SealedScan,
  SealedUpper,
  SealScanJob,
  SealTarget,
  SealUpperJob,
  Unpacked,
  UnpackJob,
} from "./root-jobs.js";
import type { Hashing } from "../internal/hashing.js";
import { removeTreeSync, unlockTree } from "./root-remove.js";
import { type FileCalls, openFileCalls } from "./linux/files.js";
import { loadLibc } from "./linux/libc.js";
import { openMountCalls } from "./linux/mount.js";
import { openPlaceCalls } from "./linux/place.js";
import { openProcessCalls } from "./linux/process.js";
import {
  type ConfinedPlace,
  scanConfined,
  sealConfined,
  unpackConfined,
} from "./snapshot/confined-work.js";
import { keepingRootFs } from "./snapshot/in-place-fs.js";
import { openKeep, type Keep } from "./snapshot/in-place-keep.js";
import { emptyAround } from "./snapshot/in-place-wipe.js";
import { directoriesBelow } from "./snapshot/implied.js";
import { openLowerDirectories } from "./snapshot/lower-directories.js";
import { copyTar, makeImage } from "./snapshot/mounted-work.js";
import { pruneUpper } from "./snapshot/prune-upper.js";
import { awaitClock, compareScan, scan, scanChanges } from "./snapshot/scan.js";
import { openScanWriter, type ScanRecords, transferOf } from "./snapshot/scan-records.js";
import { upperChanges } from "./snapshot/upper-changes.js";

export interface WorkResult {
  readonly result: RootResult;
  /** Buffers of the result that move instead of being copied. */
  readonly transfer: readonly ArrayBuffer[];
}

interface Place extends ConfinedPlace {
  readonly door: RootDoor;
  readonly hashing: Hashing;
}

/** What the thread does with a job. It is outside of every root before and after each. */
export function openRootWork(
  addon?: string,
): (job: RootJob, hashing: Hashing, signal: AbortSignal) => Promise<WorkResult> {
  const libc = loadLibc(addon);
  const door = openRootDoor({
    process: openProcessCalls(libc),
    mounts: openMountCalls(libc),
    place: openPlaceCalls(libc),
  });
  const place = { calls: openFileCalls(libc), place: openPlaceCalls(libc), door };
  return async (job, hashing, signal) => {
    try {
      return await work({ ...place, hashing }, job, signal);
    } finally {
      place.door.leave();
    }
  };
}

async function work(place: Place, job: RootJob, signal: AbortSignal): Promise<WorkResult> {
  switch (job.kind) {
    case "unpack":
      return still(await unpack(place, job, signal));
    case "imply":
      imply(place, job);
      return still(undefined);
    case "seal-upper":
      return still(await sealUpper(place, job, signal));
    case "scan": {
      const records = scanRoot(place, job, signal);
      return { result: records, transfer: transferOf(records) };
    }
    case "seal-scan": {
      const sealed = await sealScan(place, job, signal);
      return { result: sealed, transfer: transferOf(sealed.after) };
    }
    case "confined-unpack":
      return still(await unpackConfined(place, job, signal));
    case "confined-scan": {
      const found = await scanConfined(place, job, signal);
      return { result: found, transfer: transferOf(found.records) };
    }
    case "confined-seal": {
      const sealed = await sealConfined(place, job, signal);
      return { result: sealed, transfer: transferOf(sealed.after) };
    }
    case "copy":
      return still(await copyTar(job, place.hashing, signal));
    case "image":
      return still(await makeImage(place.calls, job, signal));
    case "remove":
      removeUnlocking(job.path);
      return still(undefined);
    case "wipe":
      emptyAround("", openKeep(job.keep));
      return still(undefined);
    default:
      return unreachable(job);
  }
}

/** A tree of an ordinary user may hold directories that shut this user out. */
function removeUnlocking(path: string): void {
  try {
    removeTreeSync(path);
  } catch (error) {
    if (errnoOf(error) !== "EACCES") throw error;
    unlockTree(path);
    removeTreeSync(path);
  }
}

function still(result: RootResult): WorkResult {
  return { result, transfer: [] };
}

async function unpack(
  { calls, door, hashing }: Place,
  job: UnpackJob,
  signal: AbortSignal,
): Promise<Unpacked> {
  const { layer, form, indexFile } = job;
  using hash = hashing.sha256();
  using rootFs = openPlaceFs(calls, job);
  using blob = openBlob(layer);
  const unpacked = await unpackLayer(
    blob.source(signal),
    enteringRootFs(rootFs, () => enter(door, job)),
    {
      compression: layer.compression,
      diffId: layer.diffId,
      index: indexFile,
      hash,
      whiteouts: form === "lower" ? "overlay" : "apply",
      place: job.directory,
      signal,
    },
  );
  return { ...unpacked, skipped: rootFs.skipped };
}

function openPlaceFs(calls: FileCalls, job: UnpackJob): LiveRootFs {
  const { directory, direct, keep, form, singleId, idMap } = job;
  const base = direct === true ? { base: directory } : {};
  const rootFs = openRootFs({ calls, form, singleId, idMap, ...base });
  return keep === undefined ? rootFs : keepingRootFs(rootFs, openKeep(keep));
}

/** Where nothing can be entered, paths are whole, or relative to a working directory that is "/". */
function enter(door: RootDoor, { directory, direct, keep }: RootPlace): void {
  if (direct !== true && keep === undefined) door.enter(directory);
}

/** Reads first, outside; then writes, inside. */
function imply({ calls, door }: Place, job: ImplyJob): void {
  const found = directoriesBelow(calls, job);
  const { singleId, idMap } = job;
  using rootFs = openRootFs({ calls, form: "lower", singleId, idMap });
  door.enter(job.directory);
  for (const [path, entry] of found) rootFs.create(path, entry);
  rootFs.finish();
}

async function sealUpper(
  { calls, door, hashing }: Place,
  job: SealUpperJob,
  signal: AbortSignal,
): Promise<SealedUpper> {
  const { upper, before, target } = job;
  const { clampMtimeNs } = target.options;
  let inside = false;
  const lowers = openLowerDirectories(calls, job.lowers, (read) => {
    door.leave();
    try {
      return read();
    } finally {
      if (inside) door.enter(upper);
    }
  });
  door.enter(upper);
  inside = true;
  pruneUpper({ calls, lowers, signal });
  inside = false;
  door.leave();
  const clamp = clampMtimeNs === undefined ? {} : { clampMtimeNs };
  const walk = upperChanges({ calls, before, lowers, ...clamp });
  let changes = 0;
  let describesRoot = false;
  const counted = function* (): Generator<Change> {
    door.enter(upper);
    inside = true;
    try {
      for (const change of walk) {
        changes++;
        if (change.path === "") describesRoot = true;
        yield change;
      }
    } finally {
      inside = false;
      door.leave();
    }
  };
  const layer = await seal(counted(), target, { hashing, signal });
  return { layer, changes, describesRoot };
}

function scanRoot({ calls, door }: Place, job: ScanJob, signal: AbortSignal): ScanRecords {
  enter(door, job);
  const records = scan(calls, signal, keepOf(job));
  door.leave();
  awaitClock(records, job.probe);
  return records;
}

async function sealScan(place: Place, job: SealScanJob, signal: AbortSignal): Promise<SealedScan> {
  const { calls, door } = place;
  const { target } = job;
  const before = job.before ?? openScanWriter().finish();
  const keep = keepOf(job);
  enter(door, job);
  const difference = compareScan(calls, { before, restored: new Set(job.restored), keep }, signal);
  door.leave();
  const clamp = target.options.clampMtimeNs;
  const entering = function* (): Generator<Change> {
    enter(door, job);
    try {
      yield* scanChanges(calls, difference, clamp);
    } finally {
      door.leave();
    }
  };
  const layer = await seal(entering(), target, { hashing: place.hashing, signal });
  // Clamping times moved ctimes: then the comparison's own records are no longer the truth.
  if (clamp !== undefined)
    return { layer, after: scanRoot(place, { ...job, kind: "scan" }, signal) };
  awaitClock(difference.after, job.probe);
  return { layer, after: difference.after };
}

function keepOf({ keep }: RootPlace): Keep | undefined {
  return keep === undefined ? undefined : openKeep(keep);
}

function seal(
  changes: Iterable<Change>,
  { options, blobFile, indexFile }: SealTarget,
  along: { readonly hashing: Hashing; readonly signal: AbortSignal },
): Promise<SealedLayer> {
  return packLayer(changes, { ...options, ...along, blobPath: blobFile, indexPath: indexFile });
}

/** Enters with the first call: whoever unpacks opens the blob and the index, which are outside, before that. */
function enteringRootFs(rootFs: LiveRootFs, enter: () => void): Required<RootFs> {
  let inside = false;
  const ready = (): LiveRootFs => {
    if (!inside) enter();
    inside = true;
    return rootFs;
  };
  return {
    typeOf: (path) => ready().typeOf(path),
    create: (path, entry) => ready().create(path, entry),
    remove: (path) => ready().remove(path),
    empty: (path) => ready().empty(path),
    list: (path) => ready().list(path),
    whiteout: (path) => ready().whiteout(path),
    opaque: (path) => ready().opaque(path),
    finish: () => ready().finish(),
  };
}
