import { type BigIntStats, type Dirent, lstatSync, readdirSync, unlinkSync } from "node:fs";
import { joinPath } from "../../layer/entry-path.js";
import { compareNames, decodeName } from "../../layer/path-bytes.js";
import type { FileEntry } from "../../layer/types.js";
import type { FileCalls } from "../linux/files.js";
import { atRoot, fsPath } from "../root-names.js";
import { liveEntry } from "../root-stats.js";
import { type LiveXattrs, readXattrs } from "../root-xattrs.js";
import type { LowerDirectories } from "./lower-directories.js";
import type { RootState } from "./root-state.js";
import { sameXattrs } from "./same-file.js";
import type { Change } from "./types.js";

export interface UpperWalk {
  readonly calls: FileCalls;
  /** What the root directory was when the upper directory was made. */
  readonly before: RootState;
  readonly lowers: LowerDirectories;
  /** Later times become this one, in the directory as well: it serves later steps in the layer's place. */
  readonly clampMtimeNs?: bigint;
}

/** A directory being read: names of its entries, and once more, with a slash behind, of its directories. */
interface Frame {
  readonly path: string;
  readonly keys: readonly string[];
  /** Nothing of the layers below is visible here. */
  readonly hidden: boolean;
  /** Directories in it that hide the layers below. */
  readonly opaque: Set<string>;
  next: number;
}

/**
 * The change set that an upper directory is (Documentation/filesystems/overlayfs.rst), in the order of the paths'
 * bytes. The thread's working directory is the upper directory, nothing has it mounted, and it is read as it is
 * consumed: an entry's `open` works until the next one is asked for. Sockets are deleted: the directory will be a
 * lower one, and no layer can carry them.
 */
export function* upperChanges(walk: UpperWalk): Generator<Change, void, undefined> {
  const stats = lstatSync(".", { bigint: true });
  const root = readDirectory(walk, "", stats, false);
  const { entry } = entryAt(walk, "", stats);
  if (!sameState(entry, walk.before)) yield { kind: "write", path: "", entry };
  const stack = [root];
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    const key = frame.keys[frame.next++];
    if (key === undefined) stack.pop();
    else if (key.endsWith("/")) stack.push(openFrame(walk, frame, key.slice(0, -1)));
    else yield* changesAt(walk, frame, key);
  }
}

function* changesAt(walk: UpperWalk, frame: Frame, name: string): Generator<Change> {
  const path = joinPath(frame.path, name);
  const stats = lstatSync(fsPath(path), { bigint: true });
  if (stats.isCharacterDevice() && stats.rdev === 0n) {
    yield { kind: "remove", path };
    return;
  }
  const { entry, opaque } = entryAt(walk, path, stats);
  yield { kind: "write", path, entry };
  if (!opaque) return;
  frame.opaque.add(name);
  // Every directory that a step makes is marked so: only where something is hidden does the layer need to say it.
  if (!frame.hidden && walk.lowers.lookup(path).kind === "directory")
    yield { kind: "opaque", path };
}

function openFrame(walk: UpperWalk, frame: Frame, name: string): Frame {
  const path = joinPath(frame.path, name);
  const stats = lstatSync(fsPath(path), { bigint: true });
  return readDirectory(walk, path, stats, frame.hidden || frame.opaque.has(name));
}

function readDirectory(walk: UpperWalk, path: string, stats: BigIntStats, hidden: boolean): Frame {
  const keys: string[] = [];
  let sockets = 0;
  for (const [name, entry] of readNames(path)) {
    if (entry.isSocket()) {
      unlinkSync(fsPath(joinPath(path, name)));
      sockets++;
      continue;
    }
    keys.push(name);
    if (entry.isDirectory()) keys.push(`${name}/`);
  }
  // Deleting them gave the directory a new time.
  if (sockets > 0) walk.calls.utimes(atRoot(path), stats.mtimeNs);
  return { path, keys: keys.sort(compareNames), hidden, opaque: new Set(), next: 0 };
}

function readNames(path: string): readonly (readonly [string, Dirent])[] {
  const at = atRoot(path);
  const entries = readdirSync(at, { withFileTypes: true });
  if (!entries.some(({ name }) => name.includes("\ufffd"))) {
    return entries.map((entry) => [entry.name, entry]);
  }
  // Names that are no UTF-8: once more, as bytes.
  return readdirSync(at, { withFileTypes: true, encoding: "buffer" }).map((entry) => [
    decodeName(entry.name as unknown as Buffer),
    entry as unknown as Dirent,
  ]);
}

function entryAt(
  { calls, clampMtimeNs }: UpperWalk,
  path: string,
  stats: BigIntStats,
): { readonly entry: FileEntry; readonly opaque: boolean } {
  const at = atRoot(path);
  const { xattrs, opaque }: LiveXattrs = readXattrs(calls, at, "overlay");
  const entry = liveEntry(at, stats, xattrs);
  if (clampMtimeNs === undefined || entry.mtimeNs <= clampMtimeNs) return { entry, opaque };
  calls.utimes(at, clampMtimeNs);
  return { entry: { ...entry, mtimeNs: clampMtimeNs }, opaque };
}

/** The root's time alone is no change: it moves with everything that is made or deleted there. */
function sameState(entry: FileEntry, before: RootState): boolean {
  return (
    entry.mode === before.mode &&
    entry.uid === before.uid &&
    entry.gid === before.gid &&
    sameXattrs(entry.xattrs, new Map(before.xattrs))
  );
}
