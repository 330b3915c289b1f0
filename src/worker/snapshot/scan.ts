import { closeSync, lstatSync, openSync, readdirSync, utimesSync } from "node:fs";
import { joinPath, parentOf } from "../../layer/entry-path.js";
import { compareNames } from "../../layer/path-bytes.js";
import { type FileCalls, STATX_SIZE } from "../linux/files.js";
import { atRoot, exactNames, fsPath } from "../root-names.js";
import { liveEntry } from "../root-stats.js";
import { readXattrs } from "../root-xattrs.js";
import {
  isDirectoryStamp,
  isSocketStamp,
  movedOnly,
  openScanCursor,
  openScanWriter,
  type ScanCursor,
  type ScanRecords,
  sameStamp,
  STAMP_SIZE,
  stampOf,
} from "./scan-records.js";
import type { Keep } from "./in-place-keep.js";
import type { Change } from "./types.js";

/** A clock tick is at most 10 ms (CONFIG_HZ=100); much later than that the clock stands still. */
const CLOCK_PATIENCE_MS = 2000;

/** Called for each entry in the order of the paths' bytes; the stamp is valid during the call only. */
type Visit = (path: string, stamp: Buffer) => void;

/** Records everything below the working directory but what is kept, and the directory itself as "". */
export function scan(calls: FileCalls, signal: AbortSignal, keep?: Keep): ScanRecords {
  const writer = openScanWriter();
  visitTree({ calls, signal, keep }, (path, stamp) => writer.add(path, stamp));
  return writer.finish();
}

export interface ScanDifference {
  readonly after: ScanRecords;
  /** Sorted by bytes: what appeared or is not as it was, and the directories above it. */
  readonly written: readonly string[];
  /** Sorted by bytes: the topmost of what is gone. */
  readonly removed: readonly string[];
}

export interface Comparison {
  readonly before: ScanRecords;
  /** Paths whose ctime says nothing. */
  readonly restored: ReadonlySet<string>;
  /** What is not the root's: as in the earlier scan. */
  readonly keep?: Keep | undefined;
}

/** Compares the tree below the working directory with an earlier scan of it. */
export function compareScan(
  calls: FileCalls,
  { before, restored, keep }: Comparison,
  signal: AbortSignal,
): ScanDifference {
  const writer = openScanWriter();
  const cursor = openScanCursor(before);
  const removed: string[] = [];
  const written = new Set<string>();
  const gone = new Set<string>();
  const passOver = (): void => passGone(cursor, gone, removed);
  visitTree({ calls, signal, keep }, (path, stamp) => {
    writer.add(path, stamp);
    while (cursor.path !== undefined && compareNames(cursor.path, path) < 0) passOver();
    const known = cursor.path === path;
    // The root's time moves with everything that is made or deleted there: alone it is no change.
    const moved = known && path === "" && movedOnly(cursor.stamp, stamp);
    const same = moved || (known && sameStamp(cursor.stamp, stamp, restored.has(path)));
    // A socket in the place of something else: no layer can say more than that it is gone.
    const lost = known && !same && isSocketStamp(stamp) && !isSocketStamp(cursor.stamp);
    if (lost) removed.push(path);
    if (known) {
      // A directory that is something else now: what was in it went with it.
      if (isDirectoryStamp(cursor.stamp) && !isDirectoryStamp(stamp)) gone.add(path);
      cursor.next();
    }
    if (!same && !isSocketStamp(stamp)) carry(written, path);
  });
  while (cursor.path !== undefined) passOver();
  return { after: writer.finish(), written: [...written].sort(compareNames), removed };
}

/** The record under the cursor has nothing standing at its path any more. */
function passGone(cursor: ScanCursor, gone: Set<string>, removed: string[]): void {
  const path = cursor.path ?? "";
  if (!gone.has(parentOf(path)) && !isSocketStamp(cursor.stamp)) removed.push(path);
  if (isDirectoryStamp(cursor.stamp)) gone.add(path);
  cursor.next();
}

/** An entry of a layer needs the directories above it beside it: a bare one would mask their owner and mode. */
function carry(written: Set<string>, path: string): void {
  for (let at = path; !written.has(at); at = parentOf(at)) {
    // The root needs no carrying: there always is one.
    if (at === "" && path !== "") return;
    written.add(at);
    if (at === "") return;
  }
}

/** The change set, with entries as they are when asked for. Thread's working directory: the root. */
export function* scanChanges(
  calls: FileCalls,
  { written, removed }: ScanDifference,
  clampMtimeNs: bigint | undefined,
): Generator<Change, void, undefined> {
  let next = 0;
  for (const path of written) {
    for (let gone = removed[next]; gone !== undefined; gone = removed[next]) {
      if (compareNames(gone, path) > 0) break;
      yield { kind: "remove", path: gone };
      next++;
    }
    const at = atRoot(path);
    const stats = lstatSync(at, { bigint: true });
    const entry = liveEntry(at, stats, readXattrs(calls, at, "plain").xattrs);
    if (clampMtimeNs === undefined || entry.mtimeNs <= clampMtimeNs) {
      yield { kind: "write", path, entry };
    } else {
      // In the directory as well: later steps see what the layer says.
      calls.utimes(at, clampMtimeNs);
      yield { kind: "write", path, entry: { ...entry, mtimeNs: clampMtimeNs } };
    }
  }
  for (const path of removed.slice(next)) yield { kind: "remove", path };
}

interface Frame {
  readonly path: string;
  /** Names, and those of directories once more with a slash behind. */
  readonly keys: readonly string[];
  next: number;
}

interface Tour {
  readonly calls: FileCalls;
  readonly signal: AbortSignal;
  readonly keep: Keep | undefined;
}

function visitTree({ calls, signal, keep }: Tour, visit: Visit): void {
  const statx = Buffer.alloc(STATX_SIZE);
  const stamp = Buffer.alloc(STAMP_SIZE);
  const look = (path: string): boolean => {
    if (!calls.statx(atRoot(path), statx)) return false;
    stampOf(statx, stamp);
    visit(path, stamp);
    return true;
  };
  look("");
  const stack = [readFrame("", keep)];
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    const key = frame.keys[frame.next++];
    if (key === undefined) stack.pop();
    else if (!key.endsWith("/")) look(joinPath(frame.path, key));
    else {
      signal.throwIfAborted();
      stack.push(readFrame(joinPath(frame.path, key.slice(0, -1)), keep));
    }
  }
}

function readFrame(path: string, keep: Keep | undefined): Frame {
  const at = atRoot(path);
  const entries = readdirSync(at, { withFileTypes: true });
  const directories = entries.filter((entry) => entry.isDirectory());
  const names = exactNames({
    text: () => [...entries.map(({ name }) => name), ...directories.map(({ name }) => `${name}/`)],
    bytes: () => {
      const raw = readdirSync(at, { withFileTypes: true, encoding: "buffer" });
      const slash = Buffer.of(0x2f);
      return raw.flatMap((entry) => {
        const name = entry.name as unknown as Buffer;
        return entry.isDirectory() ? [name, Buffer.concat([name, slash])] : [name];
      });
    },
  });
  const keys = keep?.holdsKept(path) === true ? withoutKept(path, names, keep) : [...names];
  return { path, keys: keys.sort(compareNames), next: 0 };
}

function withoutKept(path: string, names: readonly string[], keep: Keep): string[] {
  return names.filter((name) => !keep.isKept(joinPath(path, name.replace(/\/$/, ""))));
}

/**
 * Waits until the filesystem's clock has moved on since the newest ctime of a scan: on kernels whose file times move
 * with the timer tick (before 6.13), a change right after the scan could otherwise leave the same ctime behind.
 * Outside of the root.
 */
export function awaitClock(records: ScanRecords, probe: string): void {
  const newest = records.newestCtimeNs;
  closeSync(openSync(probe, "w"));
  const wait = new Int32Array(new SharedArrayBuffer(4));
  const deadline = Date.now() + CLOCK_PATIENCE_MS;
  while (lstatSync(fsPath(probe), { bigint: true }).ctimeNs <= newest && Date.now() < deadline) {
    Atomics.wait(wait, 0, 0, 1);
    const now = new Date();
    utimesSync(probe, now, now);
  }
}
