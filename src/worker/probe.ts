import {
  mkdirSync,
  openSync,
  closeSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  existsSync,
} from "node:fs";
import { relative } from "node:path/posix";
import { messageOf } from "../errors.js";
import { MS, type MountCalls } from "./linux/mount.js";
import { CLONE, type ProcessCalls } from "./linux/process.js";
import type { ProbeReport, Request } from "./protocol.js";
import { reach } from "./reach.js";
import { mountProc } from "./sandbox/devices.js";

/**
 * From best to bare. `userxattr` always, as root too: what one kind of mount calls opaque the other does not see.
 * `redirect_dir` and `metacopy` would leave files in the upper directory that are not what they seem. `volatile`: the
 * upper directory of a build that was killed is thrown away, so nothing in it needs to reach the disk.
 */
const OVERLAY_OPTIONS = [
  "userxattr,index=off,redirect_dir=nofollow,metacopy=off,volatile",
  "userxattr,index=off,redirect_dir=nofollow,metacopy=off",
  "userxattr",
];

export interface ProbeCalls {
  readonly process: ProcessCalls;
  readonly mounts: MountCalls;
}

/** What is to be tried, and where. */
export type ProbeOrder = Omit<Extract<Request, { op: "probe" }>, "op">;

const CANNOT_MOUNT = {
  canMount: false,
  overlayOptions: undefined,
  needsMemory: false,
  hidesProc: false,
} as const;

/**
 * Tries, in the namespaces that this process lives in, what a step will do, on the filesystem of `staging`.
 * Capability bits and versions are not asked: seccomp and security modules refuse what they promise.
 */
export function probeHere(order: ProbeOrder, calls: ProbeCalls): ProbeReport {
  const { staging, sharesPids } = order;
  if (order.reach !== undefined) {
    reach(order.reach, calls.mounts);
    process.chdir("/");
  }
  const base = `${staging}/probe`;
  rmSync(base, { recursive: true, force: true });
  mkdirSync(base, { recursive: true });
  try {
    const root = attempt(() => tryRoot(`${base}/root`, sharesPids, calls));
    if (root !== undefined) {
      const hidesProc =
        !sharesPids && attempt(() => tryRoot(`${base}/bare`, true, calls)) === undefined;
      if (hidesProc) return { ...CANNOT_MOUNT, hidesProc, refused: [] };
      const allowedBy =
        "a container with seccomp profile Unconfined and no AppArmor profile, or CAP_SYS_ADMIN";
      return { ...CANNOT_MOUNT, refused: [{ because: root, allowedBy }] };
    }
    return { ...CANNOT_MOUNT, canMount: true, ...probeOverlay(base, order, calls.mounts) };
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

function probeOverlay(
  base: string,
  { memoryBytes }: ProbeOrder,
  mounts: MountCalls,
): Pick<ProbeReport, "overlayOptions" | "needsMemory" | "refused"> {
  const here = firstOverlay({ base, place: `${base}/overlay` }, mounts);
  if (here.options !== undefined) {
    return { overlayOptions: here.options, needsMemory: false, refused: [] };
  }
  const { because } = here;
  const allowedBy =
    "Linux 5.11 or later, and a store that is not on an overlay filesystem itself: a volume (in a Pod an emptyDir)";
  const refused = [{ because, allowedBy }];
  if (memoryBytes === undefined) return { overlayOptions: undefined, needsMemory: false, refused };
  const place = `${base}/memory`;
  mkdirSync(place);
  mountMemory(place, memoryBytes, mounts);
  try {
    // Lower directories stay in the store.
    const { options } = firstOverlay({ base, place }, mounts);
    return { overlayOptions: options, needsMemory: options !== undefined, refused };
  } finally {
    mounts.unmount(place);
  }
}

/** A filesystem in memory for upper directories, that is gone with this process. @throws SystemCallError */
export function mountMemory(at: string, bytes: number, mounts: Pick<MountCalls, "mount">): void {
  mounts.mount("tmpfs", at, "tmpfs", MS.NODEV, `mode=700,size=${bytes}`);
}

/** Where an overlay is tried: its lower directory in `base`, the rest in `place`. */
interface OverlayPlace {
  readonly base: string;
  readonly place: string;
}

/** The best options that work there, or why the last ones do not. */
function firstOverlay(
  at: OverlayPlace,
  mounts: MountCalls,
): { readonly options: string } | { readonly options?: undefined; readonly because: string } {
  let because = "";
  for (const options of OVERLAY_OPTIONS) {
    because = attempt(() => tryOverlay(at, options, mounts)) ?? "";
    if (because === "") return { options };
  }
  return { because };
}

/** The reason why it failed. */
function attempt(what: () => void): string | undefined {
  try {
    what();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Enters a root of its own, as a step does, and comes back. */
function tryRoot(root: string, sharesPids: boolean, { process: calls, mounts }: ProbeCalls): void {
  mkdirSync(root);
  const home = openSync("/proc/thread-self/ns/mnt", "r");
  try {
    calls.unshare(CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC);
    try {
      mounts.makePrivate();
      mounts.mount("tmpfs", root, "tmpfs", 0, "mode=755");
      mkdirSync(`${root}/proc`);
      mountProc(`${root}/proc`, sharesPids, mounts);
      process.chdir(root);
      mounts.enterRoot();
    } finally {
      // The kernel takes back only a thread that shares its root with no other.
      calls.unshare(CLONE.FS);
      calls.setns(home, CLONE.NEWNS);
      process.chdir("/");
    }
  } finally {
    closeSync(home);
  }
}

/** Creates, renames and removes in an overlay mount: some mounts succeed and are read-only or broken. */
function tryOverlay({ base, place }: OverlayPlace, options: string, mounts: MountCalls): void {
  const at = (name: string): string => `${place}/${name}`;
  const lower = `${base}/lower`;
  for (const path of [lower, at("upper"), at("work"), at("merged")]) {
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true });
  }
  mkdirSync(`${lower}/directory`);
  writeFileSync(`${lower}/file`, "lower");
  process.chdir(base);
  try {
    const [upper, work] = ["upper", "work"].map((name) => relative(base, at(name)));
    const data = `lowerdir=lower,upperdir=${upper},workdir=${work},${options}`;
    mounts.mount("overlay", at("merged"), "overlay", 0, data);
    try {
      writeFileSync(at("merged/new"), "new");
      renameSync(at("merged/new"), at("merged/directory/renamed"));
      mkdirSync(at("merged/made"));
      unlinkSync(at("merged/file"));
      rmSync(at("merged/directory"), { recursive: true });
      mkdirSync(at("merged/directory"));
      if (existsSync(at("merged/file"))) throw new Error("overlay: a removed file is still there");
    } finally {
      mounts.unmount(at("merged"));
    }
  } finally {
    process.chdir("/");
  }
}
