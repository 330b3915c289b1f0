import type { CFunction, Libc } from "./libc.js";

/** Flags of unshare(2). */
export const CLONE = {
  FS: 0x200,
  NEWNS: 0x20000,
  NEWCGROUP: 0x2000000,
  NEWUTS: 0x4000000,
  NEWIPC: 0x8000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
} as const;

const SIGKILL = 9;
const SIGSTOP = 19;
const LAST_SIGNAL = 64;
const PR_SET_PDEATHSIG = 1;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const F_GETFD = 1;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const O_CLOEXEC = 0o2000000;
const RLIMIT_NOFILE = 7;
/** close_range(2), Linux 5.9; its flag Linux 5.11. */
const SYS_CLOSE_RANGE = 436;
const CLOSE_RANGE_CLOEXEC = 4;
const LAST_FD = 0xffffffff;
/** Open files that the fallback for kernels without close_range looks through: those of a process that just started. */
const FALLBACK_LAST_FD = 255;

export interface ProcessCalls {
  /** Moves the calling thread into new namespaces; NEWPID concerns the children it makes. @throws SystemCallError */
  unshare(flags: number): void;
  /** Moves the calling thread into the namespace that `fd` stands for. @throws SystemCallError */
  setns(fd: number, kind: number): void;
  sethostname(name: string): void;
  /** The kernel kills this process when the thread that started it ends. Undone by a change of user or a set-id exec. */
  dieWithParent(): void;
  /** Descendants whose parent ends become children of this process instead of the namespace's first. Outlasts execve. */
  adoptOrphans(): void;
  /** Takes an ended child off the kernel's list: false when it is none, or goes on. Node's own children are Node's to reap. */
  reap(pid: number): boolean;
  /** A pipe of two close-on-exec descriptors: [read end, write end]. Node's own "pipe" is a socket, which /dev/stdout cannot be opened through. */
  pipe(): readonly [number, number];
  /** Every descriptor but the lowest three closes at execve; those stay open. */
  keepOnlyStdio(): void;
  dup2(from: number, to: number): void;
  /** Every signal back to its default and none blocked: Node ignores SIGPIPE and SIGXFSZ, and execve would keep that. */
  resetSignals(): void;
  /** Node raises its soft limit of open files to the hard one; commands that walk over all descriptors then crawl. */
  limitOpenFiles(soft: number): void;
  /** setrlimit(2); -1: no limit. @throws SystemCallError EPERM where the hard limit would be raised */
  setLimit(resource: number, soft: number, hard: number): void;
  /** Replaces the program of this process; returns only by throwing. @throws SystemCallError */
  execve(path: string, argv: readonly string[], env: readonly string[]): never;
}

export function openProcessCalls(libc: Libc): ProcessCalls {
  const unshare = libc.declare("int unshare(int flags)");
  const setns = libc.declare("int setns(int fd, int kind)");
  const sethostname = libc.declare("int sethostname(const char *name, size_t length)");
  const prctl = libc.declare(
    "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
  );
  const waitpid = libc.declare("int waitpid(int pid, void *status, int options)");
  const pipe2 = libc.declare("int pipe2(void *fds, int flags)");
  const dup2 = libc.declare("int dup2(int from, int to)");
  const execve = libc.declare("int execve(const char *path, const char **argv, const char **env)");
  return {
    unshare: (flags) => void unshare(flags),
    setns: (fd, kind) => void setns(fd, kind),
    sethostname: (name) => void sethostname(name, Buffer.byteLength(name)),
    dieWithParent: () => void prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0),
    adoptOrphans: () => void prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
    reap: (pid) => {
      try {
        return waitpid(pid, null, WNOHANG) === pid;
      } catch {
        // ECHILD: somebody else's.
        return false;
      }
    },
    pipe: () => {
      const fds = new Int32Array(2);
      pipe2(new Uint8Array(fds.buffer), O_CLOEXEC);
      return [fds[0] ?? -1, fds[1] ?? -1];
    },
    keepOnlyStdio: closeOnExec(libc),
    dup2: (from, to) => void dup2(from, to),
    resetSignals: signalReset(libc),
    limitOpenFiles: openFilesLimit(libc),
    setLimit: limitSetter(libc),
    execve: (path, argv, env) => {
      execve(path, [...argv, null], [...env, null]);
      throw new Error("execve returned without an error");
    },
  };
}

function closeOnExec(libc: Libc): () => void {
  const fcntl = libc.declare("int fcntl(int fd, int command, int value)");
  const closeRange = libc.declareCall("close_range", SYS_CLOSE_RANGE, ["uint", "uint", "uint"]);
  return () => {
    for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
    try {
      closeRange(3, LAST_FD, CLOSE_RANGE_CLOEXEC);
    } catch {
      for (let fd = 3; fd <= FALLBACK_LAST_FD; fd++) closeFdOnExec(fcntl, fd);
    }
  };
}

function closeFdOnExec(fcntl: CFunction, fd: number): void {
  try {
    fcntl(fd, F_SETFD, fcntl(fd, F_GETFD, 0) | FD_CLOEXEC);
  } catch {
    // EBADF: no such descriptor.
  }
}

function signalReset(libc: Libc): () => void {
  const signal = libc.declare("intptr_t signal(int number, void *handler)");
  const sigprocmask = libc.declare("int sigprocmask(int how, void *set, void *old)");
  const SIG_SETMASK = 2;
  return () => {
    for (let number = 1; number <= LAST_SIGNAL; number++) {
      // 32 to 34 belong to the C library.
      if (number === SIGKILL || number === SIGSTOP || (number >= 32 && number <= 34)) continue;
      signal(number, null);
    }
    // A sigset_t is 128 bytes in glibc and in musl.
    sigprocmask(SIG_SETMASK, new Uint8Array(128), null);
  };
}

function limitSetter(libc: Libc): ProcessCalls["setLimit"] {
  const set = libc.declare("int setrlimit(int resource, void *limits)");
  return (resource, soft, hard) => {
    // RLIM_INFINITY is -1 as a number without a sign.
    const limits = new BigInt64Array([BigInt(soft), BigInt(hard)]);
    set(resource, new Uint8Array(limits.buffer));
  };
}

function openFilesLimit(libc: Libc): (soft: number) => void {
  const get = libc.declare("int getrlimit(int resource, void *limits)");
  const set = libc.declare("int setrlimit(int resource, void *limits)");
  return (soft) => {
    const limits = new BigUint64Array(2);
    const bytes = new Uint8Array(limits.buffer);
    get(RLIMIT_NOFILE, bytes);
    if ((limits[0] ?? 0n) <= BigInt(soft)) return;
    limits[0] = BigInt(soft);
    set(RLIMIT_NOFILE, bytes);
  };
}
