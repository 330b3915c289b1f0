import { closeSync, constants, openSync } from "node:fs";
import { errnoOf } from "../errors.js";
import {
  CLONE_FS,
  CLONE_NEWNS,
  type FileCalls,
  MNT_DETACH,
  MS_BIND,
  MS_PRIVATE,
  MS_REC,
} from "./linux/files.js";

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
export function openRootDoor(calls: FileCalls): RootDoor {
  calls.unshare(CLONE_FS);
  calls.umask(0);
  let back: (() => void) | undefined;
  return {
    enter(root) {
      if (back !== undefined) throw new Error("this thread is inside a root already");
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

function enterByChroot(calls: FileCalls, root: string): () => void {
  const home = openSync("/", constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    calls.chroot(root);
    calls.chdir("/");
  } catch (error) {
    closeSync(home);
    throw error;
  }
  return () => {
    calls.fchdir(home);
    calls.chroot(".");
    closeSync(home);
  };
}

function enterByPivot(calls: FileCalls, root: string): () => void {
  const home = openSync("/proc/thread-self/ns/mnt", constants.O_RDONLY);
  try {
    calls.unshare(CLONE_NEWNS);
    calls.mount("none", "/", "", MS_REC | MS_PRIVATE, "");
    calls.mount(root, root, "", MS_BIND | MS_REC, "");
    calls.chdir(root);
    calls.pivotRoot(".", ".");
    calls.umount(".", MNT_DETACH);
    calls.chdir("/");
  } catch (error) {
    closeSync(home);
    throw error;
  }
  return () => {
    calls.setns(home, CLONE_NEWNS);
    closeSync(home);
  };
}
