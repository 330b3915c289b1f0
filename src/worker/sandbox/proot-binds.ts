import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { messageOf, TsbuildError, unreachable } from "../../errors.js";
import type { FileCalls } from "../linux/files.js";
import { makeInside } from "./inside.js";
import { makeInPlace, resolveInRoot, type MadePoint, type PointType } from "./mount-points.js";
import type { InnerMount, SandboxSpec, StepMount } from "./types.js";

const NODES = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
const LINKS: Readonly<Record<string, string>> = {
  fd: "/proc/self/fd",
  stdin: "/proc/self/fd/0",
  stdout: "/proc/self/fd/1",
  stderr: "/proc/self/fd/2",
};

/** A path of the host that a step sees somewhere in its root. */
export interface Bind {
  readonly source: string;
  /** In the root, relative to it, with every symlink followed. */
  readonly path: string;
  /** What a step shall see in the place of what the file is. */
  readonly meant?: MeantBind;
}

export interface MeantBind {
  readonly uid: number;
  readonly gid: number;
  /** Absent: its own. */
  readonly mode?: number;
}

export interface BindPlaces {
  readonly root: string;
  /** An empty directory of this step alone. */
  readonly scratch: string;
  readonly files: FileCalls;
}

interface Wanted {
  readonly source: string;
  readonly target: string;
  readonly meant?: MeantBind;
}

/**
 * Everything that a step sees besides its root. `made` receives, as they are made, mount points that will have to be
 * removed again. @throws TsbuildError RUN_FAILED, CONTEXT_UNREADABLE
 */
export function makeBinds(spec: SandboxSpec, at: BindPlaces, made: MadePoint[]): readonly Bind[] {
  const asked = spec.mounts
    .map((mount, index) => ({ mount, index }))
    .toSorted((a, b) => depthOf(a.mount.target) - depthOf(b.mount.target) || a.index - b.index)
    .map(({ mount, index }) => wantedOf(mount, `${at.scratch}/mount-${index}`));
  const binds: Bind[] = [];
  for (const [index, wanted] of [...systemBinds(spec, at.scratch), ...asked].entries()) {
    const { source, target, meant } = wanted;
    const type: PointType = typeOf(source, target);
    const { path, exists } = resolveInRoot(at.root, target);
    if (!exists) makePoint({ path, type }, binds, at, made);
    const bind = { source: plainName(source, `${at.scratch}/bind-${index}`), path };
    binds.push(meant === undefined ? bind : { ...bind, meant });
  }
  return binds;
}

function depthOf(path: string): number {
  return path.split("/").filter((name) => name !== "" && name !== ".").length;
}

/** In the root for the time of the step, or inside of another mount, with which it stays. */
function makePoint(
  { path, type }: MadePoint,
  binds: readonly Bind[],
  { root, files }: BindPlaces,
  made: MadePoint[],
): void {
  const cover = binds.findLast((bind) => path.startsWith(`${bind.path}/`));
  if (cover === undefined) {
    made.push(...makeInPlace(root, path, type, files));
    return;
  }
  const inner = path.slice(cover.path.length + 1);
  if (existsSync(`${cover.source}/${inner}`)) return;
  try {
    makeInside(cover.source, inner, type);
  } catch (error) {
    const message = `tried to mount /${path} inside the mount /${cover.path}: ${messageOf(error)}`;
    throw new TsbuildError("RUN_FAILED", message, { cause: error });
  }
}

/** proot ends a path at its first colon. */
function plainName(source: string, link: string): string {
  if (!source.includes(":")) return source;
  symlinkSync(source, link);
  return link;
}

function typeOf(source: string, target: string): PointType {
  try {
    return statSync(source).isDirectory() ? "directory" : "file";
  } catch (error) {
    throw new TsbuildError("RUN_FAILED", `tried to mount ${target}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function systemBinds({ hosts, resolvConf }: SandboxSpec, scratch: string): readonly Wanted[] {
  const dev = `${scratch}/dev`;
  makeDev(dev);
  writeFileSync(`${scratch}/hosts`, hosts, { mode: 0o644 });
  writeFileSync(`${scratch}/resolv.conf`, resolvConf, { mode: 0o644 });
  return [
    { source: "/proc", target: "/proc" },
    { source: "/sys", target: "/sys" },
    { source: dev, target: "/dev" },
    ...NODES.map((name) => ({ source: `/dev/${name}`, target: `/dev/${name}` })),
    ...(existsSync("/dev/pts") ? [{ source: "/dev/pts", target: "/dev/pts" }] : []),
    { source: `${scratch}/hosts`, target: "/etc/hosts" },
    { source: `${scratch}/resolv.conf`, target: "/etc/resolv.conf" },
  ].filter(({ source }) => existsSync(source));
}

function makeDev(dev: string): void {
  for (const name of ["", "/pts", "/shm", "/mqueue"]) mkdirSync(`${dev}${name}`, { mode: 0o755 });
  chmodSync(`${dev}/shm`, 0o1777);
  for (const name of NODES) writeFileSync(`${dev}/${name}`, "");
  for (const [name, target] of Object.entries(LINKS)) symlinkSync(target, `${dev}/${name}`);
}

function wantedOf(mount: StepMount | InnerMount, fresh: string): Wanted {
  const { target } = mount;
  switch (mount.kind) {
    case "bind":
      return { source: mount.source, target };
    case "tmpfs":
      mkdirSync(fresh);
      chmodSync(fresh, 0o1777);
      return { source: fresh, target };
    case "file":
      writeFileSync(fresh, mount.content, { mode: 0o600 });
      chmodSync(fresh, mount.mode | 0o400);
      return { source: fresh, target, meant: mount };
    case "root":
      return { source: innerSource(rootPathOf(mount), mount), target };
    case "inside": {
      const source = innerSource(mount.directory, mount);
      // What is in it belongs to who made it.
      const isWhole = source === mount.directory && mount.owner !== undefined;
      return isWhole ? { source, target, meant: mount.owner } : { source, target };
    }
    default:
      return unreachable(mount);
  }
}

function rootPathOf({ root, target }: Extract<InnerMount, { kind: "root" }>): string {
  if (root.kind === "directory") return root.path;
  throw new TsbuildError("INTERNAL", `tried to mount ${target}: its root is no directory`);
}

function innerSource(directory: string, { source, target }: InnerMount): string {
  const place = resolveInRoot(directory, source);
  const at = place.path === "" ? directory : `${directory}/${place.path}`;
  if (place.exists && lstatSync(at, { throwIfNoEntry: false }) !== undefined) return at;
  const name = source.startsWith("/") ? source : `/${source}`;
  throw new TsbuildError("CONTEXT_UNREADABLE", `tried to mount ${target}: "${name}": not found`);
}
