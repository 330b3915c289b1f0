import {
  chownSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
  type BigIntStats,
} from "node:fs";
import { dirname } from "node:path/posix";
import { errnoOf, TsbuildError } from "../../errors.js";
import type { FileCalls } from "../linux/files.js";

/** As the kernel: MAXSYMLINKS. */
const MAX_LINKS = 40;

/** A place in a root, with every symlink followed inside that root. Paths are relative, without leading slash; the root is "". */
export interface Place {
  readonly path: string;
  readonly exists: boolean;
}

/** A mount point that the root lacked and that was made in it for the time of a step. */
export interface MadePoint {
  readonly path: string;
  readonly type: PointType;
}
export type PointType = "file" | "directory";

/** Follows `path` inside `root`, as a process there would. What is missing is taken by its name. @throws TsbuildError RUN_FAILED */
export function resolveInRoot(root: string, path: string): Place {
  const rest = path.split("/").toReversed();
  const done: string[] = [];
  let exists = true;
  for (let links = 0; rest.length > 0;) {
    const name = rest.pop() ?? "";
    if (name === "" || name === ".") continue;
    if (name === "..") {
      done.pop();
      // Out of what is missing, and back to what is there.
      exists ||= statOf(`${root}/${done.join("/")}`) !== undefined;
      continue;
    }
    const stats = exists ? statOf(`${root}/${[...done, name].join("/")}`) : undefined;
    if (stats === undefined) exists = false;
    if (stats?.isSymbolicLink() !== true) {
      done.push(name);
      continue;
    }
    if (++links > MAX_LINKS) throw refused(path, "too many levels of symbolic links");
    const target = readlinkSync(`${root}/${[...done, name].join("/")}`);
    if (target.startsWith("/")) done.length = 0;
    rest.push(...target.split("/").toReversed());
  }
  return { path: done.join("/"), exists: done.length === 0 || exists };
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

function refused(path: string, because: string): TsbuildError {
  return new TsbuildError("RUN_FAILED", `tried to mount ${path}: ${because}`);
}

/**
 * Fills the empty directory `stubs` with the missing mount points, to be the topmost lower directory of the root's
 * overlay mount. A directory there hides the attributes of the same directory in `view`, so it carries the same ones.
 * Gives what `view` lacks of it, parents first.
 */
export function makeStubs(
  view: string,
  stubs: string,
  missing: readonly MadePoint[],
  calls: FileCalls,
): readonly MadePoint[] {
  const mirrored = new Map<string, BigIntStats>();
  const made = new Map<string, PointType>();
  for (const { path, type } of missing) {
    const names = path.split("/");
    for (let depth = 0; depth < names.length; depth++) {
      const parent = names.slice(0, depth).join("/");
      if (mirrored.has(parent)) continue;
      if (parent !== "") mkdirUnlessThere(`${stubs}/${parent}`);
      const stats = statOf(`${view}/${parent}`);
      if (stats === undefined) {
        made.set(parent, "directory");
        continue;
      }
      if (!stats.isDirectory()) throw refused(`/${path}`, `/${parent} is not a directory`);
      mirrored.set(parent, stats);
    }
    makePoint(`${stubs}/${path}`, type);
    made.set(path, type);
  }
  // Deepest first: making something in a directory changes its time.
  for (const [path, stats] of [...mirrored].toReversed()) {
    mirror(`${view}/${path}`, `${stubs}/${path}`, stats, calls);
  }
  return [...made].map(([path, type]) => ({ path, type }));
}

function mirror(from: string, to: string, stats: BigIntStats, calls: FileCalls): void {
  chownSync(to, Number(stats.uid), Number(stats.gid));
  chmodSync(to, Number(stats.mode & 0o7777n));
  for (const name of calls.listXattrs(from)) {
    const value = isOverlays(name) ? undefined : calls.getXattr(from, name);
    if (value !== undefined) setXattrIfPossible(to, name, value, calls);
  }
  calls.utimes(to, stats.mtimeNs);
}

function setXattrIfPossible(to: string, name: Buffer, value: Buffer, calls: FileCalls): void {
  try {
    calls.setXattr(to, name, value);
  } catch (error) {
    // A tmpfs before Linux 6.6 has no user.*, and trusted.* belongs to the initial namespace.
    if (!["EOPNOTSUPP", "ENOTSUP", "EPERM"].includes(errnoOf(error) ?? "")) throw error;
  }
}

/** Overlayfs's own bookkeeping. */
function isOverlays(name: Buffer): boolean {
  return /^(user|trusted)\.overlay\./.test(name.toString("latin1"));
}

function makePoint(path: string, type: PointType): void {
  if (type === "directory") mkdirUnlessThere(path);
  else writeFileSync(path, "", { mode: 0o644 });
}

function mkdirUnlessThere(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}

/** Makes the mount point, and the parents that it lacks, in a real directory. Parents that were there keep their mtime. */
export function makeInPlace(
  root: string,
  path: string,
  type: PointType,
  calls: FileCalls,
): readonly MadePoint[] {
  const names = path.split("/");
  const made: MadePoint[] = [];
  for (let depth = 1; depth <= names.length; depth++) {
    const at = names.slice(0, depth).join("/");
    const stats = statOf(`${root}/${at}`);
    if (stats !== undefined) {
      if (depth < names.length && !stats.isDirectory()) {
        throw refused(`/${path}`, `/${at} is not a directory`);
      }
      continue;
    }
    const point = { path: at, type: depth < names.length ? "directory" : type } as const;
    keepingTime(`${root}/${parentOf(at)}`, calls, () => makePoint(`${root}/${at}`, point.type));
    made.push(point);
  }
  return made;
}

/**
 * Removes what {@link makeInPlace} made, or what an upper directory has of {@link makeStubs}', now that the step is dead.
 * What the step replaced or filled is its own change and stays. Gives the directories, of those that remain, whose ctime
 * is not the step's doing.
 */
export function removeMade(
  root: string,
  made: readonly MadePoint[],
  calls: FileCalls,
): readonly string[] {
  const touched = new Set<string>();
  for (const { path, type } of made.toReversed()) {
    // A step may have put a symlink where a parent was: nothing outside the root may be reached through it.
    if (!isRealPath(root, parentOf(path))) continue;
    touched.add(parentOf(path));
    const stats = statOf(`${root}/${path}`);
    keepingTime(`${root}/${parentOf(path)}`, calls, () => {
      if (type === "directory" && stats?.isDirectory() === true) removeIfEmpty(`${root}/${path}`);
      if (type === "file" && stats?.isFile() === true && stats.size === 0n) {
        unlinkSync(`${root}/${path}`);
      }
    });
  }
  return [...touched].filter((path) => isRealPath(root, path));
}

/** Whether everything on the way, and what is there, is a directory and no symlink to one. */
export function isRealPath(root: string, path: string): boolean {
  const names = path === "" ? [] : path.split("/");
  return names.every(
    (_, index) => statOf(`${root}/${names.slice(0, index + 1).join("/")}`)?.isDirectory() === true,
  );
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOTEMPTY") throw error;
  }
}

/** Changes something in a directory, which keeps its mtime. */
export function keepingTime(directory: string, calls: FileCalls, change: () => void): void {
  const { mtimeNs } = lstatSync(directory, { bigint: true });
  change();
  calls.utimes(directory, mtimeNs);
}

/** Of a path in a root; that of the topmost ones is "". */
export function parentOf(path: string): string {
  const parent = dirname(path);
  return parent === "." ? "" : parent;
}
