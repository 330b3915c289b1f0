import { readlinkSync, statSync } from "node:fs";
import { resolveInRoot } from "./mount-points.js";
import type { Bind } from "./proot-binds.js";

/** What the paths of a step mean outside of it. */
export interface PathSpace {
  /** The root's directory, by its real path. */
  readonly root: string;
  readonly binds: readonly Bind[];
}

/** Where a path of the step is outside, with every symlink followed as in there; `undefined` when nothing is there. */
export function hostPath(path: string, { root, binds }: PathSpace): string | undefined {
  const place = resolveInRoot(root, path);
  const cover = binds
    .filter((bind) => place.path === bind.path || place.path.startsWith(`${bind.path}/`))
    .toSorted((a, b) => a.path.length - b.path.length)
    .at(-1);
  if (cover === undefined) return place.exists ? `${root}/${place.path}` : undefined;
  if (!statSync(cover.source).isDirectory()) return cover.source;
  const inner = resolveInRoot(cover.source, place.path.slice(cover.path.length));
  return inner.exists ? `${cover.source}/${inner.path}` : undefined;
}

export interface CallerPath {
  /** A symlink of /proc to the directory that a relative path starts in. */
  readonly directory: string;
  readonly path: string;
  readonly follow: boolean;
}

/** What a system call of a step is about, as a path of the host. @throws Error with the code ENOENT */
export function resolveForCaller(
  { directory, path, follow }: CallerPath,
  space: PathSpace,
): string {
  if (path === "") return readlinkSync(directory);
  // In its last place proot leaves a symlink only where it is not to be followed.
  if (isHostPath(path, space)) return path;
  const inside = path.startsWith("/")
    ? path
    : `${insidePath(readlinkSync(directory), space)}/${path}`;
  if (follow || inside.endsWith("/")) return hostPath(inside, space) ?? absent(inside);
  const slash = inside.lastIndexOf("/");
  const name = inside.slice(slash + 1);
  if (name === "." || name === "..") return hostPath(inside, space) ?? absent(inside);
  const parent = hostPath(inside.slice(0, slash) || "/", space) ?? absent(inside);
  return `${parent}/${name}`;
}

/** Whether proot has translated it: it sees most calls before the seccomp filter does (since Linux 4.8). */
function isHostPath(path: string, { root, binds }: PathSpace): boolean {
  return [root, ...binds.map(({ source }) => source)].some(
    (known) => path === known || path.startsWith(`${known}/`),
  );
}

/** The step's own path of one of the host. */
function insidePath(path: string, { root, binds }: PathSpace): string {
  if (path === root || path.startsWith(`${root}/`)) return path.slice(root.length) || "/";
  const bind = binds.find(({ source }) => path === source || path.startsWith(`${source}/`));
  return bind === undefined ? absent(path) : `/${bind.path}${path.slice(bind.source.length)}`;
}

function absent(path: string): never {
  throw Object.assign(new Error(`${path}: no such file`), { code: "ENOENT" });
}
