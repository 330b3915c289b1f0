import { mkdirSync, symlinkSync } from "node:fs";
import { messageOf, TsbuildError } from "../../errors.js";
import type { FileCalls } from "../linux/files.js";
import { MS, type MountCalls } from "../linux/mount.js";
import type { RootMount } from "../snapshot/types.js";
import { guardKernelFiles } from "./devices.js";
import type { Order } from "./init-protocol.js";
import { makeInside } from "./inside.js";
import { makeInPlace, makeStubs, resolveInRoot, type MadePoint } from "./mount-points.js";
import { nameLayers } from "./source-root.js";
import { planMounts, type PlannedMount } from "./step-mounts.js";

type OverlayRoot = Extract<RootMount, { kind: "overlay" }>;

/** The calls that building a root takes. */
export interface RootCalls {
  readonly mounts: MountCalls;
  readonly files: FileCalls;
}

/**
 * Mounts the root with everything a step sees in it, in the mount namespace of this process, and enters it. `made`
 * receives, as they are made, mount points that will have to be removed again: from an overlay's upper directory only if
 * the step made something beside them.
 * @throws TsbuildError RUN_FAILED, SystemCallError
 */
export function enterStepRoot(order: Order, calls: RootCalls, made: MadePoint[]): void {
  const { mounts } = calls;
  mounts.makePrivate();
  mounts.mount("tmpfs", order.scratch, "tmpfs", MS.NOSUID | MS.NODEV, "mode=700");
  const plan = planMounts(order, mounts);
  const root = order.root.kind === "overlay" ? order.root.target : order.root.path;
  if (order.root.kind === "overlay") made.push(...mountOverlay(order.root, order, plan, calls));
  else mounts.bind(root, root);
  const stubs = new Set(made.map(({ path }) => path));
  const mounted: Mounted[] = [];
  for (const each of plan) {
    const place = resolveInRoot(root, each.target);
    if (!place.exists) {
      const cover = mounted.findLast(({ path }) => isWithin(place.path, path));
      if (cover !== undefined) makePointBelow(cover, place.path, each, root);
      else if (order.root.kind === "directory") {
        made.push(...makeInPlace(root, place.path, each.type, calls.files));
      } else throw strayed(each, place.path);
    }
    const isNew = !place.exists || stubs.has(place.path);
    attempt(each, () => each.mount(`${root}/${place.path}`, isNew));
    mounted.push({ path: place.path, plan: each });
  }
  if (order.process.insecure !== true) guardKernelFiles(root, mounts);
  process.chdir(root);
  mounts.enterRoot();
}

interface Mounted {
  /** In the root, with every symlink followed. */
  readonly path: string;
  readonly plan: PlannedMount;
}

/** A mount point inside of what was mounted before: it goes with that, or lasts as long as that does. */
function makePointBelow(
  { path: parent, plan }: Mounted,
  path: string,
  { target, type }: PlannedMount,
  root: string,
): void {
  const base = plan.backing ?? `${root}/${parent}`;
  try {
    makeInside(base, path.slice(parent.length + 1), type);
  } catch (error) {
    const because = messageOf(error);
    throw new TsbuildError(
      "RUN_FAILED",
      `tried to mount ${target} inside the mount ${plan.target}, which has no such ${type}: ${because}`,
      { cause: error, hint: `let ${plan.target} be writable, or have the ${type} in its source` },
    );
  }
}

/** The tree without mounts had another place for it: only a symlink in a mount can lead here. */
function strayed({ target }: PlannedMount, path: string): TsbuildError {
  return new TsbuildError(
    "RUN_FAILED",
    `tried to mount ${target}: a symlink in another mount leads to /${path}, which the image lacks`,
  );
}

function attempt({ target }: PlannedMount, mount: () => void): void {
  try {
    mount();
  } catch (error) {
    if (error instanceof TsbuildError) throw error;
    throw new TsbuildError("RUN_FAILED", `tried to mount ${target}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function isWithin(path: string, parent: string): boolean {
  return path === parent || path.startsWith(`${parent}/`);
}

/** Mounts the layers, with a layer of mount points among them if they lack some; gives those, and parents that were made. */
function mountOverlay(
  root: OverlayRoot,
  order: Order,
  plan: readonly PlannedMount[],
  calls: RootCalls,
): readonly MadePoint[] {
  const { mounts } = calls;
  const links = `${order.scratch}/links`;
  const stubs = `${order.scratch}/stubs`;
  mkdirSync(stubs);
  const lower = nameLayers(root, links);
  symlinkSync(stubs, "stubs");
  // A look at the merged tree must not touch the upper directory: so this mount has none. It is not looked at again,
  // and goes with the old root: an unmount of its own would wait for every processor.
  let view = root.upper;
  if (lower.length > 0) {
    view = `${order.scratch}/view`;
    mkdirSync(view);
    mounts.mount("overlay", view, "overlay", 0, `lowerdir=upper:${lower.join(":")},userxattr`);
  }
  const missing = missingPoints(view, plan);
  const made = makeStubs(view, stubs, missing, calls.files);
  const named = missing.length > 0 || lower.length === 0 ? ["stubs", ...lower] : lower;
  const data = `lowerdir=${named.join(":")},upperdir=upper,workdir=work,${order.overlayOptions}`;
  mounts.mount("overlay", root.target, "overlay", 0, data);
  process.chdir("/");
  return made;
}

/** The mount points of the plan that the tree lacks; those inside of other mounts are made there when their time comes. */
function missingPoints(view: string, plan: readonly PlannedMount[]): readonly MadePoint[] {
  const missing: MadePoint[] = [];
  const seen: string[] = [];
  for (const { target, type } of plan) {
    const place = resolveInRoot(view, target);
    if (!place.exists && !seen.some((path) => isWithin(place.path, path))) {
      missing.push({ path: place.path, type });
    }
    seen.push(place.path);
  }
  return missing;
}
