import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  constants,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  writeFileSync,
  type BigIntStats,
} from "node:fs";
import { messageOf, TsbuildError, errnoOf, unreachable } from "../../errors.js";
import type { FileCalls } from "../linux/files.js";
import { removeTreeSync } from "../root-remove.js";
import { ASIDE, type Keep } from "../snapshot/in-place-keep.js";
import { openPassage, type Passage } from "./in-place-passage.js";
import {
  isRealPath,
  keepingTime,
  makeInPlace,
  parentOf,
  removeMade,
  resolveInRoot,
  type MadePoint,
} from "./mount-points.js";
import type { InnerMount, SandboxSpec, StepMount } from "./types.js";

type AnyMount = SandboxSpec["mounts"][number];

export interface PlaceTools {
  readonly calls: FileCalls;
  /** Of this build; on the filesystem of "/" unless the store is on a volume. */
  readonly staging: string;
  readonly keep: Keep;
  /** The builder's own files, and the container's mounts, as absolute paths. */
  readonly home: string;
  readonly mountPoints: ReadonlySet<string>;
}

/** Mounts that stand in "/" as files and directories of their own. */
export interface PlacedMounts {
  /** Takes everything away and puts back what stood there. Gives the paths that were touched: see `StageRoot.end`. */
  undo(): readonly string[];
}

/** One thing that was done, and how it is taken back. */
type Undo = () => void;

/**
 * Makes a step's mounts without mount(2): what stands at a target is moved aside, and the source put there, by rename
 * where that can be, else by a link. Read-only and size limits cannot be enforced; nothing of it ends up in the layer.
 * @throws TsbuildError RUN_FAILED, CONTEXT_UNREADABLE; nothing is left then
 */
export function placeMounts(mounts: readonly AnyMount[], tools: PlaceTools): PlacedMounts {
  const place = new Placing(tools);
  const ordered = mounts
    .map((mount, index) => ({ mount, index }))
    .toSorted((a, b) => depthOf(a.mount.target) - depthOf(b.mount.target) || a.index - b.index);
  try {
    for (const { mount } of ordered) place.put(mount);
  } catch (error) {
    place.undo();
    throw error;
  }
  return { undo: () => place.undo() };
}

function depthOf(path: string): number {
  return path.split("/").filter((name) => name !== "" && name !== ".").length;
}

class Placing {
  readonly #tools: PlaceTools;
  readonly #done: Undo[] = [];
  readonly #touched = new Set<string>();
  /** Where sources are that were moved to their target: a second mount of one links to the first. */
  readonly #moved = new Map<string, string>();

  constructor(tools: PlaceTools) {
    this.#tools = tools;
  }

  put(mount: AnyMount): void {
    try {
      this.#put(mount);
    } catch (error) {
      if (error instanceof TsbuildError) throw error;
      const message = `tried to mount ${mount.target} in place: ${messageOf(error)}`;
      throw new TsbuildError("RUN_FAILED", message, { cause: error });
    }
  }

  /** Each part, whatever becomes of the others; the first failure is thrown at the end. */
  undo(): readonly string[] {
    const failures: unknown[] = [];
    for (const undo of this.#done.splice(0).toReversed()) {
      try {
        undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    return [...this.#touched].filter((path) => isRealPath("", parentOf(path)));
  }

  #put(mount: AnyMount): void {
    const { path, exists } = resolveInRoot("", mount.target);
    if (isThereAlready(mount, path)) return;
    this.#refuse(mount, path, exists);
    const existing = exists ? lstatSync(`/${path}`, { bigint: true }) : undefined;
    if (existing === undefined) this.#makeParents(path);
    else this.#setAside(path);
    this.#within(path, () => this.#fill(mount, path, existing));
  }

  #refuse({ target }: AnyMount, path: string, exists: boolean): void {
    const { keep, home, mountPoints } = this.#tools;
    const at = `/${path}`;
    const isHome = at === home || at.startsWith(`${home}/`);
    const isBusy = exists && (mountPoints.has(at) || keep.holdsKept(path));
    if (!isHome && !isBusy) return;
    const because = isHome ? "tsbuild itself is there" : "the container has a mount there";
    throw new TsbuildError("RUN_FAILED", `tried to mount ${target} in place: ${because}`, {
      hint: "choose another target, or run where steps have namespaces",
    });
  }

  #makeParents(path: string): void {
    const parent = parentOf(path);
    if (parent === "") return;
    const made: readonly MadePoint[] = makeInPlace("", parent, "directory", this.#tools.calls);
    if (made.length === 0) return;
    this.#done.push(() => {
      for (const each of removeMade("", made, this.#tools.calls)) this.#touched.add(each);
    });
  }

  /** Out of the step's sight and reach, where a filesystem of its own does not keep it close by. */
  #setAside(path: string): void {
    const name = `tsbuild-aside-${randomBytes(6).toString("hex")}`;
    const places = [this.#tools.staging, ASIDE, `/${parentOf(path)}`].map(
      (directory) => `${directory}/.${name}`,
    );
    const aside = this.#within(path, () => firstOf(places, (to) => move(`/${path}`, to)));
    this.#touched.add(path);
    this.#done.push(() => this.#within(path, () => move(aside, `/${path}`)));
  }

  #fill(mount: AnyMount, path: string, existing: BigIntStats | undefined): void {
    const at = `/${path}`;
    switch (mount.kind) {
      case "tmpfs": {
        mkdirSync(at);
        chmodSync(at, existing === undefined ? 0o1777 : Number(existing.mode & 0o7777n));
        return this.#removeLater(path);
      }
      case "file":
        this.#removeLater(path);
        return writeSecretly(at, mount);
      case "bind":
        this.#removeLater(path);
        return linkTo(mount, at, this.#passageTo(mount.source));
      case "root": {
        if (mount.root.kind !== "directory") throw new Error("its source is no directory");
        const source = sourceOf(mount.root.path, mount);
        if (tryMove(source, at)) return this.#removeLater(path);
        return this.#linkLater(source, path);
      }
      case "inside":
        return this.#lend(sourceOf(mount.directory, mount), path);
      default:
        return unreachable(mount);
    }
  }

  /** Moved to the target and back again: what the step leaves there lasts. */
  #lend(source: string, path: string): void {
    const at = `/${path}`;
    const earlier = this.#moved.get(source);
    if (earlier !== undefined) {
      this.#removeLater(path);
      return symlinkSync(earlier, at);
    }
    if (!tryMove(source, at)) return this.#linkLater(source, path);
    const { ino } = lstatSync(at, { bigint: true });
    this.#moved.set(source, at);
    this.#removeLater(path);
    this.#done.push(() => {
      if (!isRealPath("", parentOf(path))) return;
      // Something else that the step has put there is not what was lent.
      const now = lstatSync(at, { bigint: true, throwIfNoEntry: false });
      if (now?.ino === ino) this.#within(path, () => renameSync(at, source));
    });
  }

  #linkLater(source: string, path: string): void {
    this.#removeLater(path);
    this.#passageTo(source);
    symlinkSync(source, `/${path}`);
  }

  /** Other users may go through the directories of the store, where a link leads. */
  #passageTo(source: string): string {
    const passage: Passage = openPassage(source);
    this.#done.push(() => passage.close());
    return source;
  }

  #removeLater(path: string): void {
    this.#done.push(() => {
      // A step may have put a symlink where a parent was.
      if (isRealPath("", parentOf(path))) this.#within(path, () => removeTreeSync(`/${path}`));
    });
  }

  /** Does something to what is at `path`, of which the directory around it shows nothing but a ctime. */
  #within<T>(path: string, change: () => T): T {
    const parent = parentOf(path);
    this.#touched.add(parent);
    let result: { readonly value: T } | undefined;
    keepingTime(`/${parent}`, this.#tools.calls, () => {
      result = { value: change() };
    });
    if (result === undefined) throw new Error("nothing was done");
    return result.value;
  }
}

/** A device that is where it is to be. */
function isThereAlready(mount: AnyMount, path: string): boolean {
  return mount.kind === "bind" && mount.source === `/${path}`;
}

/** With every symlink followed inside of the directory, which nobody else is using. */
function sourceOf(directory: string, { source, target }: InnerMount): string {
  const place = resolveInRoot(directory, source);
  if (place.exists) return place.path === "" ? directory : `${directory}/${place.path}`;
  const name = source.startsWith("/") ? source : `/${source}`;
  throw new TsbuildError("CONTEXT_UNREADABLE", `tried to mount ${target}: "${name}": not found`);
}

/** For its owner alone from the first moment. */
function writeSecretly(at: string, mount: Extract<StepMount, { kind: "file" }>): void {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = openSync(at, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    writeFileSync(fd, mount.content);
  } finally {
    closeSync(fd);
  }
  chownSync(at, mount.uid, mount.gid);
  chmodSync(at, mount.mode);
}

/** A socket or a device under a second name; a directory by a link. */
function linkTo(mount: Extract<StepMount, { kind: "bind" }>, at: string, source: string): void {
  try {
    if (!lstatSync(source).isDirectory()) return linkSync(source, at);
  } catch (error) {
    if (!["EXDEV", "EPERM"].includes(errnoOf(error) ?? "")) {
      const message = `tried to mount ${mount.source}: ${messageOf(error)}`;
      throw new TsbuildError("RUN_FAILED", message, { cause: error });
    }
  }
  symlinkSync(source, at);
}

/** The first of the places that takes it. */
function firstOf(places: readonly string[], attempt: (place: string) => void): string {
  for (const [index, place] of places.entries()) {
    try {
      attempt(place);
      return place;
    } catch (error) {
      if (errnoOf(error) !== "EXDEV" || index === places.length - 1) throw error;
    }
  }
  throw new Error("there is no place");
}

function move(from: string, to: string): void {
  if (to.startsWith(`${ASIDE}/`)) mkdirSync(ASIDE, { recursive: true, mode: 0o700 });
  renameSync(from, to);
}

function tryMove(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EXDEV") return false;
    throw error;
  }
}
