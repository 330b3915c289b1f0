import { closeSync, constants, openSync } from "node:fs";
import { errnoOf } from "../errors.js";
import type { MountCalls } from "./linux/mount.js";
import type { PlaceCalls } from "./linux/place.js";
import { CLONE, type ProcessCalls } from "./linux/process.js";

/** What going into a root takes. */
export interface DoorCalls {
  readonly process: Pick<ProcessCalls, "unshare" | "setns">;
  readonly mounts: Pick<MountCalls, "makePrivate" | "bind" | "enterRoot">;
  readonly place: PlaceCalls;
}

/** A thread that can go into a root and come back. */
export interface RootDoor {
  /**
   * From here until `leave`, every synchronous path of this thread is inside `root`, symlinks included; the working
   * directory is its top. Asynchronous calls run on other threads and stay outside.
   */
  enter(root: string): void;
  /** Does nothing outside. */
  leave(): void;
}

/**
 * Parts this thread's root, working directory and umask (0 from now on) from those of the process. Where a seccomp
 * profile refuses chroot(2), as CRI-O's does without CAP_SYS_CHROOT, entering is done with a mount namespace instead.
 */
export function openRootDoor(calls: DoorCalls): RootDoor {
  let isParted = false;
  let back: (() => void) | undefined;
  return {
    enter(root) {
      if (back !== undefined) throw new Error("this thread is inside a root already");
      // Not before it is needed: where seccomp profiles refuse it, there are no roots to enter.
      if (!isParted) part(calls);
      isParted = true;
      try {
        back = enterByChroot(calls, root);
      } catch (error) {
        if (errnoOf(error) !== "EPERM") throw error;
        back = enterByPivot(calls, root);
      }
    },
    leave() {
      back?.();
      back = undefined;
    },
  };
}

function part({ process, place }: DoorCalls): void {
  process.unshare(CLONE.FS);
  place.umask(0);
}

function enterByChroot({ place }: DoorCalls, root: string): () => void {
  const home = openSync("/", constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    place.chroot(root);
    place.chdir("/");
  } catch (error) {
    closeSync(home);
    throw error;
  }
  return () => {
    place.fchdir(home);
    place.chroot(".");
    closeSync(home);
  };
}

function enterByPivot(calls: DoorCalls, root: string): () => void {
  const home = openSync("/proc/thread-self/ns/mnt", constants.O_RDONLY);
  try {
    calls.process.unshare(CLONE.NEWNS);
    calls.mounts.makePrivate();
    calls.mounts.bind(root, root);
    calls.place.chdir(root);
    calls.mounts.enterRoot();
  } catch (error) {
    closeSync(home);
    throw error;
  }
  return () => {
    calls.process.setns(home, CLONE.NEWNS);
    closeSync(home);
  };
}
