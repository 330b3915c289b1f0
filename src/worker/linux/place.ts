import type { Libc } from "./libc.js";

/**
 * What paths mean to the calling thread, and the modes of what it makes: of that thread alone once it has called
 * unshare(CLONE.FS), else of the whole process. Node's own `chdir` and `umask` refuse to run in a thread.
 */
export interface PlaceCalls {
  /** @throws SystemCallError EPERM without CAP_SYS_CHROOT, or where a seccomp profile says no */
  chroot(path: string): void;
  /** @throws SystemCallError */
  chdir(path: string): void;
  /** @throws SystemCallError */
  fchdir(fd: number): void;
  umask(mask: number): void;
}

export function openPlaceCalls(libc: Libc): PlaceCalls {
  const chroot = libc.declare("int chroot(const char *path)");
  const chdir = libc.declare("int chdir(const char *path)");
  const fchdir = libc.declare("int fchdir(int fd)");
  const umask = libc.declare("unsigned int umask(unsigned int mask)");
  return {
    chroot: (path) => void chroot(path),
    chdir: (path) => void chdir(path),
    fchdir: (fd) => void fchdir(fd),
    umask: (mask) => void umask(mask),
  };
}
