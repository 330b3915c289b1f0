import { constants } from "node:os";
import type { BareFunction, Libc } from "./libc.js";

/** Where a path may hold bytes that are no UTF-8: a Buffer without a trailing NUL. */
type FsPath = string | Buffer;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
/** Bytes of the kernel's `struct statx`. */
export const STATX_SIZE = 256;
/** The kernel's own limit for one attribute's value and for the list of names. */
const XATTR_MAX = 64 * 1024;
const BILLION = 1_000_000_000n;
/** The calls that old C libraries have no symbol for. */
const NUMBERS = {
  x64: { mknodat: 259, statx: 332 },
  arm64: { mknodat: 33, statx: 291 },
} as const;

export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFIFO = 0o010000;
export const S_IFSOCK = 0o140000;

/** The calls on files that Node has not, or has only without nanoseconds. They throw {@link SystemCallError}s. */
export interface FileCalls {
  /** Sets both times; a symlink's own. */
  utimes(path: FsPath, mtimeNs: bigint): void;
  futimes(fd: number, mtimeNs: bigint): void;
  /** Names of the attributes, without order. Empty where the filesystem has none. */
  listXattrs(path: FsPath): readonly Buffer[];
  /** `undefined` when the attribute is absent. The bytes are the caller's. */
  getXattr(path: FsPath, name: FsPath): Buffer | undefined;
  setXattr(path: FsPath, name: FsPath, value: Uint8Array): void;
  /** `mode` with its S_IF bits. */
  mknod(path: FsPath, mode: number, major: number, minor: number): void;
  /** Into a buffer of {@link STATX_SIZE}; false when absent. */
  statx(path: FsPath, into: Buffer): boolean;
}

/** Once per process or thread. @throws Error on processors other than x64 and arm64. */
export function openFileCalls(libc: Libc): FileCalls {
  const numbers = process.arch === "x64" || process.arch === "arm64" ? NUMBERS[process.arch] : null;
  if (numbers === null) throw new Error(`no system call numbers for ${process.arch}`);
  return { ...timeCalls(libc), ...xattrCalls(libc), ...nodeCalls(libc, numbers) };
}

function timeCalls(libc: Libc): Pick<FileCalls, "utimes" | "futimes"> {
  const utimensat = libc.declareBare(
    "int utimensat(int fd, const char *path, const uint8_t *times, int fl)",
  );
  const futimens = libc.declareBare("int futimens(int fd, const uint8_t *times)");
  // Two timespecs: of the last access, of the last change.
  const times = new BigInt64Array(4);
  const bytes = Buffer.from(times.buffer);
  const fill = (ns: bigint): Buffer => {
    const rest = ((ns % BILLION) + BILLION) % BILLION;
    times[0] = times[2] = (ns - rest) / BILLION;
    times[1] = times[3] = rest;
    return bytes;
  };
  return {
    utimes(path, mtimeNs) {
      if (utimensat(AT_FDCWD, cString(path), fill(mtimeNs), AT_SYMLINK_NOFOLLOW) !== 0)
        throw libc.failure("utimensat", path);
    },
    futimes(fd, mtimeNs) {
      if (futimens(fd, fill(mtimeNs)) !== 0) throw libc.failure("futimens", `fd ${fd}`);
    },
  };
}

function xattrCalls(libc: Libc): Pick<FileCalls, "listXattrs" | "getXattr" | "setXattr"> {
  const list = libc.declareBare(
    "int64_t llistxattr(const char *path, _Out_ uint8_t *list, uint64_t size)",
  );
  const get = libc.declareBare(
    "int64_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, uint64_t size)",
  );
  const set = libc.declareBare(
    "int lsetxattr(const char *path, const char *name, const uint8_t *value, uint64_t size, int fl)",
  );
  const value = valueReader(libc);
  return {
    listXattrs(path) {
      const at = cString(path);
      const raw = value((into) => list(at, into, into.length), "llistxattr", path);
      return raw === undefined || raw.length === 0 ? [] : splitNames(raw);
    },
    getXattr(path, name) {
      const at = cString(path);
      const key = cString(name);
      return value((into) => get(at, key, into, into.length), "lgetxattr", path);
    },
    setXattr(path, name, bytes) {
      if (set(cString(path), cString(name), bytes, bytes.length, 0) !== 0)
        throw libc.failure("lsetxattr", path);
    },
  };
}

/** What a call that takes a buffer and gives a length says; `undefined` when there is no such attribute. */
function valueReader(
  libc: Libc,
): (
  read: (into: Buffer) => ReturnType<BareFunction>,
  call: string,
  path: FsPath,
) => Buffer | undefined {
  const { ERANGE, ENODATA, ENOTSUP, EOPNOTSUPP } = constants.errno;
  // Small first: the whole buffer is copied back, and most lists are empty.
  const small = Buffer.alloc(512);
  return (read, call, path) => {
    let buffer = small;
    let length = Number(read(buffer));
    if (length < 0 && libc.errno() === ERANGE) {
      buffer = Buffer.alloc(XATTR_MAX);
      length = Number(read(buffer));
    }
    if (length >= 0) return Buffer.from(buffer.subarray(0, length));
    const errno = libc.errno();
    if (errno === ENODATA || errno === ENOTSUP || errno === EOPNOTSUPP) return undefined;
    throw libc.failure(call, path);
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

function nodeCalls(
  libc: Libc,
  numbers: (typeof NUMBERS)["x64" | "arm64"],
): Pick<FileCalls, "mknod" | "statx"> {
  const mknodat = libc.declareBare(
    "long syscall(long nr, long fd, const char *path, long mode, long device)",
  );
  const statx = libc.declareBare(
    "long syscall(long nr, long fd, const char *path, long flags, long mask, _Out_ uint8_t *into)",
  );
  const { ENOENT, ENOTDIR } = constants.errno;
  return {
    mknod(path, mode, major, minor) {
      const device = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
      if (Number(mknodat(numbers.mknodat, AT_FDCWD, cString(path), mode, device >>> 0)) !== 0)
        throw libc.failure("mknod", path);
    },
    statx(path, into) {
      const flags = AT_SYMLINK_NOFOLLOW;
      const code = statx(numbers.statx, AT_FDCWD, cString(path), flags, STATX_BASIC_STATS, into);
      if (Number(code) === 0) return true;
      const errno = libc.errno();
      if (errno === ENOENT || errno === ENOTDIR) return false;
      throw libc.failure("statx", path);
    },
  };
}

/** A C string: bytes need their own NUL. */
function cString(path: FsPath): FsPath {
  return typeof path === "string" ? path : Buffer.concat([path, Buffer.of(0)]);
}
