import { closeSync, constants, fstatSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { errnoOf, TsbuildError } from "../../errors.js";
import { resolveInRoot, type PointType } from "./mount-points.js";

/** O_PATH, which Node has no name for: the same number on x64 and arm64. */
export const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW } = constants;
/** Others may rename things in a shared directory all the time. */
const ATTEMPTS = 10;

/** A file or a directory that was found inside a root and is held there, whatever its name leads to later. */
export interface OpenedPath extends Disposable {
  readonly type: PointType;
  /** Leads to it while it is open, to mount or to look at. */
  readonly path: string;
}

/**
 * Opens what is at `path` inside `root`, with every symlink followed inside that root. A process that swaps names for
 * symlinks meanwhile cannot lead it outside. `undefined` when there is nothing.
 * @throws TsbuildError RUN_FAILED
 */
export function openInside(root: string, path: string): OpenedPath | undefined {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const place = resolveInRoot(root, path);
    if (!place.exists) return undefined;
    const fd = walk(root, place.path);
    if (fd !== undefined) return opened(fd);
  }
  throw new TsbuildError("RUN_FAILED", `tried to open ${path}: it changes all the time`);
}

function opened(fd: number): OpenedPath {
  return {
    type: fstatSync(fd).isDirectory() ? "directory" : "file",
    path: `/proc/self/fd/${fd}`,
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** `path` has no symlinks and no dots: one that it meets came in between, and then there is no result. */
function walk(root: string, path: string): number | undefined {
  let fd = openSync(root, O_PATH | O_DIRECTORY);
  for (const name of path === "" ? [] : path.split("/")) {
    const next = step(fd, name);
    closeSync(fd);
    if (next === undefined) return undefined;
    fd = next;
  }
  return fd;
}

function step(parent: number, name: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(`/proc/self/fd/${parent}/${name}`, O_PATH | O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
  if (!fstatSync(fd).isSymbolicLink()) return fd;
  closeSync(fd);
  return undefined;
}

/**
 * Makes a mount point, and the directories that it lacks, below an opened directory, through real directories alone.
 * What is there stays. `path` has no symlinks. @throws TsbuildError RUN_FAILED, Error as the file system says
 */
export function makeInside(base: string, path: string, type: PointType): void {
  const names = path.split("/");
  let fd = openSync(base, O_PATH | O_DIRECTORY);
  try {
    for (const [index, name] of names.entries()) {
      makeUnlessThere(`/proc/self/fd/${fd}/${name}`, index < names.length - 1 ? "directory" : type);
      const next = step(fd, name);
      if (next === undefined) {
        throw new TsbuildError("RUN_FAILED", `tried to make ${path}: a symlink is in its way`);
      }
      closeSync(fd);
      fd = next;
    }
  } finally {
    closeSync(fd);
  }
}

function makeUnlessThere(path: string, type: PointType): void {
  try {
    if (type === "directory") mkdirSync(path, { mode: 0o755 });
    else writeFileSync(path, "", { mode: 0o644, flag: "wx" });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}
