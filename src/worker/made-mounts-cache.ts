import { chmodSync, closeSync, constants, fstatSync, mkdirSync, openSync } from "node:fs";
import { renameSync, statSync, utimesSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Uses } from "../internal/in-use.js";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { fillFromSeed, type SeedTools } from "./made-mounts-seed.js";
import { chownMapped } from "./made-mounts-owner.js";
import type { LockCalls } from "./linux/lock.js";
import { removeTreeSync } from "./root-remove.js";
import type { MadeMount, SealedFiles } from "./types.js";

type CacheMount = Extract<MadeMount, { kind: "cache" }>;
type Sharing = CacheMount["sharing"];

const POLL_MS = 50;
const KEY = /^[0-9a-f]{64}$/;
/** A cache in use by one step at a time is for one step alone, however else the same step names it. */
const STRICTNESS: readonly Sharing[] = ["shared", "private", "locked"];

export interface CacheTools extends SeedTools {
  /** Absent: no store keeps caches. */
  readonly cachesDirectory: string | undefined;
  readonly locks: LockCalls;
  /** Of what the store holds. */
  readonly uses: Uses;
}

/** Caches that a step may use until this is disposed. */
export interface CacheLease extends AsyncDisposable {
  pathOf(key: string): string;
}

/**
 * Takes the caches of one step. A cache is a directory `<key>/` with numbered directories: `0`, and others for steps
 * that want one of their own while it is in use. Beside each is the file that says so by its lock, and one whose lock
 * says that it is being made.
 * @throws TsbuildError STORE_FAILED, CONTEXT_UNREADABLE, ABORTED
 */
export async function leaseCaches(
  mounts: readonly CacheMount[],
  tools: CacheTools,
  signal: AbortSignal,
): Promise<CacheLease> {
  const paths = new Map<string, string>();
  const locks: Lock[] = [];
  const release = async (): Promise<void> => {
    for (const lock of locks.splice(0)) lock[Symbol.dispose]();
  };
  try {
    // In one order for all steps: two that wait for each other would wait for ever.
    for (const key of [...new Set(mounts.map((mount) => mount.key))].toSorted()) {
      const same = mounts.filter((mount) => mount.key === key);
      const [first] = same;
      if (first === undefined) continue;
      const sharing = strictest(same);
      const directory = directoryOf(first, tools);
      await keep(directory, tools.uses);
      const { slot, lock } = await takeSlot({ directory, sharing, locks: tools.locks }, signal);
      if (lock !== undefined) locks.push(lock);
      paths.set(key, slot);
      await makeSlot(slot, first, tools, signal);
      utimesSync(directory, new Date(), new Date());
    }
  } catch (error) {
    await release();
    if (signal.aborted) throw stopped();
    throw failure(error);
  }
  return {
    pathOf: (key) => {
      const path = paths.get(key);
      if (path === undefined) throw new TsbuildError("INTERNAL", `cache ${key} was not taken`);
      return path;
    },
    [Symbol.asyncDispose]: release,
  };
}

/** What the cache holds, as a layer; `undefined` where there is none, or somebody is using it. @throws TsbuildError */
export async function packCache(
  key: string,
  { cachesDirectory, locks }: Pick<CacheTools, "cachesDirectory" | "locks">,
  pack: (directory: string) => Promise<SealedFiles | undefined>,
): Promise<SealedFiles | undefined> {
  if (!KEY.test(key)) throw new TsbuildError("INTERNAL", `tried to name a cache: "${key}"`);
  const slot = `${cachesDirectory}/${key}/0`;
  if (cachesDirectory === undefined || !isThere(slot)) return undefined;
  using lock = tryLock(`${slot}.lock`, "exclusive", locks);
  return lock === undefined ? undefined : await pack(slot);
}

function strictest(mounts: readonly CacheMount[]): Sharing {
  const ranks = mounts.map(({ sharing }) => STRICTNESS.indexOf(sharing));
  return STRICTNESS[Math.max(...ranks)] ?? "locked";
}

function directoryOf({ key, target }: CacheMount, { cachesDirectory }: CacheTools): string {
  if (!KEY.test(key)) throw new TsbuildError("INTERNAL", `tried to name a cache: "${key}"`);
  if (cachesDirectory === undefined) {
    throw new TsbuildError("INTERNAL", `tried to mount ${target}: no store keeps caches`);
  }
  return `${cachesDirectory}/${key}`;
}

/** Until then it may be deleted by who cleans up, and with it the lock. */
async function keep(directory: string, uses: Uses): Promise<void> {
  do mkdirSync(directory, { recursive: true, mode: 0o700 });
  while ((await uses.use(directory)) === undefined);
}

interface Wanted {
  readonly directory: string;
  readonly sharing: Sharing;
  readonly locks: LockCalls;
}

/** A directory that may not exist yet, and the lock that says that it is in use. */
async function takeSlot(
  { directory, sharing, locks }: Wanted,
  signal: AbortSignal,
): Promise<{ readonly slot: string; readonly lock: Lock | undefined }> {
  const slot = `${directory}/0`;
  switch (sharing) {
    case "shared":
      // Waits for nobody, but those who want to be alone see it.
      return { slot, lock: tryLock(`${slot}.lock`, "shared", locks) };
    case "locked":
      return { slot, lock: await waitForLock(`${slot}.lock`, locks, signal) };
    case "private":
      for (let number = 0; ; number++) {
        const lock = tryLock(`${directory}/${number}.lock`, "exclusive", locks);
        if (lock !== undefined) return { slot: `${directory}/${number}`, lock };
      }
  }
}

/** Makes the cache unless it is there: whole, or not at all. */
async function makeSlot(
  slot: string,
  mount: CacheMount,
  tools: CacheTools,
  signal: AbortSignal,
): Promise<void> {
  if (isThere(slot)) return;
  using _making = await waitForLock(`${slot}.making`, tools.locks, signal);
  if (isThere(slot)) return;
  const fresh = tools.stagingPath(".cache");
  try {
    if (mount.seed === undefined) mkdirSync(fresh);
    else await fillFromSeed(fresh, mount.seed, tools, signal);
    chownMapped(fresh, mount, tools.singleId);
    chmodSync(fresh, mount.mode);
    renameSync(fresh, slot);
  } catch (error) {
    removeTreeSync(fresh);
    throw error;
  }
}

type Lock = Disposable;

async function waitForLock(path: string, locks: LockCalls, signal: AbortSignal): Promise<Lock> {
  for (;;) {
    if (signal.aborted) throw stopped();
    const lock = tryLock(path, "exclusive", locks);
    if (lock !== undefined) return lock;
    await sleep(POLL_MS, undefined, { signal });
  }
}

function tryLock(path: string, kind: "shared" | "exclusive", locks: LockCalls): Lock | undefined {
  for (;;) {
    mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
    const fd = openLockFile(path);
    if (fd === undefined) continue;
    let isHeld = false;
    try {
      if (!locks.tryLock(fd, kind)) return undefined;
      // Whoever cleans up deletes the file while holding its lock: then it says nothing to those who come later.
      isHeld = isStill(path, fd);
      if (isHeld) return { [Symbol.dispose]: () => closeSync(fd) };
    } finally {
      if (!isHeld) closeSync(fd);
    }
  }
}

function openLockFile(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    // The directory was deleted since it was made.
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function isStill(path: string, fd: number): boolean {
  const now = statSync(path, { throwIfNoEntry: false });
  const opened = fstatSync(fd);
  return now?.ino === opened.ino && now.dev === opened.dev;
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function stopped(): TsbuildError {
  return new TsbuildError("ABORTED", "tried to take a cache: the build was stopped");
}

function failure(error: unknown): Error {
  if (error instanceof TsbuildError) return error;
  const message = `tried to take a cache: ${messageOf(error)}`;
  return new TsbuildError("STORE_FAILED", message, { cause: error });
}
