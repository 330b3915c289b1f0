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
import { messageOf } from "../errors.js";
import type { MountCalls } from "./linux/mount.js";
import { CLONE, type ProcessCalls } from "./linux/process.js";
import type { ProbeReport } from "./protocol.js";

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

/**
 * Tries, in the namespaces that this process lives in, what a step will do, on the filesystem of `staging`.
 * Capability bits and versions are not asked: seccomp and security modules refuse what they promise.
 */
export function probeHere(staging: string, calls: ProbeCalls): ProbeReport {
  const base = `${staging}/probe`;
  rmSync(base, { recursive: true, force: true });
  mkdirSync(base, { recursive: true });
  try {
    const root = attempt(() => tryRoot(base, calls));
    if (root !== undefined) {
      const allowedBy =
        "a container with seccomp profile Unconfined and no AppArmor profile, or CAP_SYS_ADMIN";
      return {
        canMount: false,
        overlayOptions: undefined,
        refused: [{ because: root, allowedBy }],
      };
    }
    let because = "";
    for (const options of OVERLAY_OPTIONS) {
      because = attempt(() => tryOverlay(base, options, calls.mounts)) ?? "";
      if (because === "") return { canMount: true, overlayOptions: options, refused: [] };
    }
    const allowedBy =
      "Linux 5.11 or later, and a store that is not on an overlay filesystem itself: a volume (in a Pod an emptyDir)";
    return { canMount: true, overlayOptions: undefined, refused: [{ because, allowedBy }] };
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
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
function tryRoot(base: string, { process: calls, mounts }: ProbeCalls): void {
  const root = `${base}/root`;
  mkdirSync(root);
  const home = openSync("/proc/thread-self/ns/mnt", "r");
  try {
    calls.unshare(CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC);
    try {
      mounts.makePrivate();
      mounts.mount("tmpfs", root, "tmpfs", 0, "mode=755");
      mkdirSync(`${root}/proc`);
      mounts.bind("/proc", `${root}/proc`);
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
function tryOverlay(base: string, options: string, mounts: MountCalls): void {
  const at = (name: string): string => `${base}/overlay/${name}`;
  rmSync(at(""), { recursive: true, force: true });
  for (const name of ["lower/directory", "upper", "work", "merged"]) {
    mkdirSync(at(name), { recursive: true });
  }
  writeFileSync(at("lower/file"), "lower");
  process.chdir(at(""));
  try {
    const data = `lowerdir=lower,upperdir=upper,workdir=work,${options}`;
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
