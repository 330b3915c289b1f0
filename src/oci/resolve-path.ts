import { TsbuildError } from "../errors.js";
import type { FileEntry, Tree } from "./tree.js";

/** As the kernel's limit (path_resolution(7)). */
const MAX_LINKS = 40;

/** Where a path leads. */
export interface ResolvedPath {
  /** Without symlinks, `.` and `..`; the root is "". Components that do not exist are kept as they were written. */
  readonly path: string;
  /** `undefined` when nothing is there. */
  readonly entry: FileEntry | undefined;
}

/**
 * Follows a path through the symlinks of a tree as the kernel does below a chroot: `..` stops at the root and absolute
 * links start there. `final` says what becomes of a symlink in the last place; one with a slash behind it is always
 * followed. What follows a component that does not exist is taken as it is written.
 * @throws TsbuildError CONTEXT_UNREADABLE after 40 symlinks, or when a file stands where a directory must.
 */
export function resolvePath(tree: Tree, path: string, final: "follow" | "keep"): ResolvedPath {
  const follow = final === "follow" || /\/\.?$/.test(path);
  const todo = path.split("/").toReversed();
  const done: string[] = [];
  let links = 0;
  let entry = tree.lstat("");
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === "" || part === ".") continue;
    if (entry !== undefined && entry.type !== "directory") throw notDirectory(path, done);
    if (part === "..") {
      done.pop();
      entry = tree.lstat(done.join("/"));
      continue;
    }
    done.push(part);
    entry = tree.lstat(done.join("/"));
    const last = !todo.some((rest) => rest !== "" && rest !== ".");
    if (entry?.type !== "symlink" || (last && !follow)) continue;
    links += 1;
    if (links > MAX_LINKS) throw loop(path);
    const target = entry.linkTarget ?? "";
    if (target.startsWith("/")) done.length = 0;
    else done.pop();
    entry = tree.lstat(done.join("/"));
    todo.push(...target.split("/").toReversed());
  }
  return { path: done.join("/"), entry };
}

function loop(path: string): TsbuildError {
  const message = `tried to resolve "${path}": it goes through more than ${MAX_LINKS} symbolic links`;
  return new TsbuildError("CONTEXT_UNREADABLE", message);
}

function notDirectory(path: string, at: readonly string[]): TsbuildError {
  const message = `tried to resolve "${path}": "${at.join("/")}" is no directory`;
  return new TsbuildError("CONTEXT_UNREADABLE", message);
}
