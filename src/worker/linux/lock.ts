import { errnoOf } from "../../errors.js";
import type { Libc } from "./libc.js";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Locks of whole files, flock(2): of an open file, so they go when it is closed or the process dies. */
export interface LockCalls {
  /** Never waits; false when another open file holds a lock that excludes this one. @throws SystemCallError */
  tryLock(fd: number, kind: "shared" | "exclusive"): boolean;
}

export function openLockCalls(libc: Libc): LockCalls {
  const flock = libc.declare("int flock(int fd, int operation)");
  return {
    tryLock: (fd, kind) => {
      try {
        flock(fd, (kind === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB);
        return true;
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === "EAGAIN" || errno === "EWOULDBLOCK") return false;
        throw error;
      }
    },
  };
}
