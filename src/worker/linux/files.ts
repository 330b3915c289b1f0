import { getSystemErrorName } from "node:util";
import koffi from "koffi";

/** Where a path may hold bytes that are no UTF-8: a Buffer without a trailing NUL. */
type FsPath = string | Buffer;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
/** Bytes of the kernel's `struct statx`. */
export const STATX_SIZE = 256;
/** The kernel's own limit for one attribute's value and for the list of names. */
const XATTR_MAX = 64 * 1024;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;
const O_CLOEXEC = 0o2000000;
/** x64 and arm64: the calls that old C libraries have no symbol for. arm64 also swaps two open(2) flags. */
const NUMBERS = {
  x64: { mknodat: 259, openat: 257, statx: 332, pivot_root: 155 },
  arm64: { mknodat: 33, openat: 56, statx: 291, pivot_root: 41 },
} as const;

export const CLONE_FS = 0x200;
export const CLONE_NEWNS = 0x20000;
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x40000;
export const MNT_DETACH = 2;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFIFO = 0o010000;

/** The calls on files that Node has not, or has only without nanoseconds. They throw errors shaped like Node's own. */
export interface FileCalls {
  /** Sets both times; a symlink's own. */
  utimes(path: FsPath, mtimeNs: bigint): void;
  futimes(fd: number, mtimeNs: bigint): void;
  /** Names of the attributes, without order. Empty where the filesystem has none. */
  listXattrs(path: FsPath): readonly Buffer[];
  /** `undefined` when the attribute is absent. The bytes are the caller's. */
  getXattr(path: FsPath, name: FsPath): Buffer | undefined;
  fgetXattr(fd: number, name: FsPath): Buffer | undefined;
  setXattr(path: FsPath, name: FsPath, value: Uint8Array): void;
  removeXattr(path: FsPath, name: FsPath): void;
  /** `mode` with its S_IF bits. */
  mknod(path: FsPath, mode: number, major: number, minor: number): void;
  /** Into a buffer of {@link STATX_SIZE}; false when absent. Relative to `dirFd`, or to the working directory. */
  statx(path: FsPath, into: Buffer, dirFd?: number): boolean;
  /** A directory below `dirFd`; its last component is not followed. */
  openDirectoryAt(dirFd: number, path: FsPath): number;
  /** All of these are of the calling thread alone once it has called `unshare`. */
  unshare(flags: number): void;
  chroot(path: FsPath): void;
  chdir(path: FsPath): void;
  fchdir(fd: number): void;
  umask(mask: number): void;
  setns(fd: number, flags: number): void;
  mount(source: string, target: string, type: string, flags: number, data: string): void;
  umount(target: string, flags: number): void;
  pivotRoot(newRoot: string, putOld: string): void;
}

type Native = (...values: readonly unknown[]) => number | bigint;

/** Binds the C library's functions: once per thread. @throws Error on processors other than x64 and arm64. */
export function openFileCalls(): FileCalls {
  const numbers = process.arch === "x64" || process.arch === "arm64" ? NUMBERS[process.arch] : null;
  if (numbers === null) throw new Error(`no system call numbers for ${process.arch}`);
  const library = koffi.load(null);
  const native = (declaration: string): Native => library.func(declaration) as Native;
  return {
    ...timeCalls(native),
    ...xattrCalls(native),
    ...pathCalls(native, numbers),
    ...placeCalls(native, numbers),
  };
}

function timeCalls(native: (declaration: string) => Native): Pick<FileCalls, "utimes" | "futimes"> {
  const utimensat = native("int utimensat(int fd, const char *path, const uint8_t *times, int fl)");
  const futimens = native("int futimens(int fd, const uint8_t *times)");
  const times = Buffer.alloc(32);
  const fill = (ns: bigint): Buffer => {
    const billion = 1_000_000_000n;
    const rest = ((ns % billion) + billion) % billion;
    for (const at of [0, 16]) {
      times.writeBigInt64LE((ns - rest) / billion, at);
      times.writeBigInt64LE(rest, at + 8);
    }
    return times;
  };
  return {
    utimes(path, mtimeNs) {
      const code = utimensat(AT_FDCWD, cString(path), fill(mtimeNs), AT_SYMLINK_NOFOLLOW);
      if (code !== 0) throw failure("utimensat", path);
    },
    futimes(fd, mtimeNs) {
      if (futimens(fd, fill(mtimeNs)) !== 0) throw failure("futimens", `fd ${fd}`);
    },
  };
}

function xattrCalls(
  native: (declaration: string) => Native,
): Pick<FileCalls, "listXattrs" | "getXattr" | "fgetXattr" | "setXattr" | "removeXattr"> {
  const list = native("int64_t llistxattr(const char *path, _Out_ uint8_t *list, uint64_t size)");
  const get = native(
    "int64_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, uint64_t size)",
  );
  const fget = native(
    "int64_t fgetxattr(int fd, const char *name, _Out_ uint8_t *value, uint64_t size)",
  );
  const set = native(
    "int lsetxattr(const char *path, const char *name, const uint8_t *value, uint64_t size, int fl)",
  );
  const remove = native("int lremovexattr(const char *path, const char *name)");
  // Small first: koffi copies the whole buffer back, and most lists are empty.
  const small = Buffer.alloc(512);
  const value = (
    read: (into: Buffer) => number,
    name: string,
    path: FsPath,
  ): Buffer | undefined => {
    let buffer = small;
    let length = read(buffer);
    if (length < 0 && koffi.errno() === koffi.os.errno["ERANGE"]) {
      buffer = Buffer.alloc(XATTR_MAX);
      length = read(buffer);
    }
    if (length >= 0) return Buffer.from(buffer.subarray(0, length));
    const errno = koffi.errno();
    const { ENODATA, ENOTSUP, EOPNOTSUPP } = koffi.os.errno;
    if (errno === ENODATA || errno === ENOTSUP || errno === EOPNOTSUPP) return undefined;
    throw failure(name, path);
  };
  return {
    listXattrs(path) {
      const raw = value((b) => Number(list(cString(path), b, b.length)), "llistxattr", path);
      return raw === undefined || raw.length === 0 ? [] : splitNames(raw);
    },
    getXattr: (path, name) =>
      value((b) => Number(get(cString(path), cString(name), b, b.length)), "lgetxattr", path),
    fgetXattr: (fd, name) =>
      value((b) => Number(fget(fd, cString(name), b, b.length)), "fgetxattr", `fd ${fd}`),
    setXattr(path, name, bytes) {
      if (set(cString(path), cString(name), Buffer.from(bytes), bytes.length, 0) !== 0)
        throw failure("lsetxattr", path);
    },
    removeXattr(path, name) {
      if (remove(cString(path), cString(name)) !== 0) throw failure("lremovexattr", path);
    },
  };
}

function splitNames(raw: Buffer): readonly Buffer[] {
  const names: Buffer[] = [];
  for (let at = 0; at < raw.length;) {
    const end = raw.indexOf(0, at);
    names.push(raw.subarray(at, end));
    at = end + 1;
  }
  return names;
}

function pathCalls(
  native: (declaration: string) => Native,
  numbers: (typeof NUMBERS)["x64" | "arm64"],
): Pick<FileCalls, "mknod" | "statx" | "openDirectoryAt"> {
  const onPath = native("long syscall(long nr, long fd, const char *path, long a, long b)");
  const onBuffer = native(
    "long syscall(long nr, long fd, const char *path, long a, long b, _Out_ uint8_t *into)",
  );
  // arm64 has O_DIRECTORY and O_NOFOLLOW where x64 has O_DIRECT and O_LARGEFILE.
  const directoryFlags =
    O_CLOEXEC | (process.arch === "arm64" ? 0o40000 | 0o100000 : O_DIRECTORY | O_NOFOLLOW);
  return {
    mknod(path, mode, major, minor) {
      const device = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
      const code = onPath(numbers.mknodat, AT_FDCWD, cString(path), mode, device >>> 0);
      if (Number(code) !== 0) throw failure("mknod", path);
    },
    statx(path, into, dirFd = AT_FDCWD) {
      const flags = AT_SYMLINK_NOFOLLOW;
      const code = onBuffer(numbers.statx, dirFd, cString(path), flags, STATX_BASIC_STATS, into);
      if (Number(code) === 0) return true;
      const { ENOENT, ENOTDIR } = koffi.os.errno;
      const errno = koffi.errno();
      if (errno === ENOENT || errno === ENOTDIR) return false;
      throw failure("statx", path);
    },
    openDirectoryAt(dirFd, path) {
      const fd = Number(onPath(numbers.openat, dirFd, cString(path), directoryFlags, 0));
      if (fd < 0) throw failure("openat", path);
      return fd;
    },
  };
}

function placeCalls(
  native: (declaration: string) => Native,
  numbers: (typeof NUMBERS)["x64" | "arm64"],
): Pick<
  FileCalls,
  "unshare" | "chroot" | "chdir" | "fchdir" | "umask" | "setns" | "mount" | "umount" | "pivotRoot"
> {
  const unshare = native("int unshare(int flags)");
  const chroot = native("int chroot(const char *path)");
  const chdir = native("int chdir(const char *path)");
  const fchdir = native("int fchdir(int fd)");
  const umask = native("unsigned int umask(unsigned int mask)");
  const setns = native("int setns(int fd, int flags)");
  const mount = native(
    "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
  );
  const umount2 = native("int umount2(const char *target, int flags)");
  const pivot = native("long syscall(long nr, const char *newRoot, const char *putOld)");
  const check = (code: number | bigint, call: string, path: FsPath): void => {
    if (Number(code) !== 0) throw failure(call, path);
  };
  return {
    unshare: (flags) => check(unshare(flags), "unshare", `0x${flags.toString(16)}`),
    chroot: (path) => check(chroot(cString(path)), "chroot", path),
    chdir: (path) => check(chdir(cString(path)), "chdir", path),
    fchdir: (fd) => check(fchdir(fd), "fchdir", `fd ${fd}`),
    umask: (mask) => void umask(mask),
    setns: (fd, flags) => check(setns(fd, flags), "setns", `fd ${fd}`),
    mount: (source, target, type, flags, data) =>
      check(mount(source, target, type, flags, data), "mount", target),
    umount: (target, flags) => check(umount2(target, flags), "umount2", target),
    pivotRoot: (newRoot, putOld) =>
      check(pivot(numbers.pivot_root, newRoot, putOld), "pivot_root", newRoot),
  };
}

/** What koffi takes as a C string: bytes need their own NUL. */
function cString(path: FsPath): FsPath {
  return typeof path === "string" ? path : Buffer.concat([path, Buffer.of(0)]);
}

/** An error with the fields that Node's own have. Reads errno, so it comes first after the call. */
function failure(syscall: string, path: FsPath): Error {
  const errno = koffi.errno();
  const code = getSystemErrorName(-errno);
  const shown = path.toString();
  return Object.assign(new Error(`${code}: ${syscall} '${shown}'`), {
    code,
    errno: -errno,
    syscall,
    path: shown,
  });
}
