import type { Libc } from "./libc.js";

const PR_SET_DUMPABLE = 4;

/**
 * From now on nobody without CAP_SYS_PTRACE, not even of the same user, can look into this process: its memory, its
 * environment, its open files. Undone by execve. @throws SystemCallError
 */
export function hideProcess(libc: Libc): void {
  libc.declare(
    "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
  )(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
