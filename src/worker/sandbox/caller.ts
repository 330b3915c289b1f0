import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { type PathSpace, resolveForCaller } from "./step-paths.js";

const PATH_MAX = 4096;
const PAGE = 4096;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** Where a call has what it is about. */
export interface PathShape {
  /** Index of the descriptor that the path is relative to; absent: the working directory. */
  readonly directory?: number;
  /** Index of the path; absent: the descriptor itself is meant. */
  readonly path?: number;
  /** Whether a symlink in the last place is followed; a number: the index of the flags that say so. */
  readonly follow: boolean | number;
}

/** A file of the host. */
export interface Place {
  readonly path: string;
  readonly follow: boolean;
}

/** A path of the host for what a call of a step is about. @throws Error with an errno's name as its code */
export function placeOf(
  shape: PathShape,
  tid: number,
  args: readonly bigint[],
  space: PathSpace,
): Place {
  const fd = shape.directory === undefined ? AT_FDCWD : toSigned(args[shape.directory] ?? 0n);
  const directory = fd === AT_FDCWD ? `/proc/${tid}/cwd` : `/proc/${tid}/fd/${fd}`;
  const path = shape.path === undefined ? "" : readText(tid, args[shape.path] ?? 0n);
  // A descriptor may be of something that has no name any more, or never had one.
  if (path === "") {
    const isAsked = shape.path === undefined || typeof shape.follow === "number";
    if (!isAsked) throw refused("ENOENT");
    return { path: directory, follow: true };
  }
  // proot keeps the working directory to itself, so that a relative path is of a call that it does not know, statx: with
  // ENOSYS the C libraries take the older one.
  if (fd === AT_FDCWD && !path.startsWith("/")) throw refused("ENOSYS");
  const flags = typeof shape.follow === "number" ? Number(args[shape.follow] ?? 0n) : 0;
  const follow =
    typeof shape.follow === "number" ? (flags & AT_SYMLINK_NOFOLLOW) === 0 : shape.follow;
  const found = resolveForCaller({ directory, path, follow }, space);
  return { path: found.replace(/^\/proc\/(?:thread-)?self(?=\/|$)/, `/proc/${tid}`), follow };
}

/** An argument that is an int. */
export function toSigned(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}

/** The umask of a thread. */
export function umaskOf(tid: number): number {
  const status = readFileSync(`/proc/${tid}/status`, "latin1");
  return Number.parseInt(/^Umask:\s*([0-7]+)$/m.exec(status)?.[1] ?? "22", 8);
}

/** Text that ends with a NUL, from a process's memory: by pages, since the next one may not be there. */
export function readText(tid: number, address: bigint): string {
  const fd = openSync(`/proc/${tid}/mem`, "r");
  try {
    let text = Buffer.alloc(0);
    for (let at = address; text.length < PATH_MAX;) {
      const size = PAGE - Number(at % BigInt(PAGE));
      const bytes = Buffer.alloc(size);
      const count = readSync(fd, bytes, 0, size, at);
      const end = bytes.indexOf(0);
      text = Buffer.concat([text, bytes.subarray(0, end < 0 ? count : end)]);
      if (end >= 0) return text.toString();
      at += BigInt(count);
    }
    throw refused("ENAMETOOLONG");
  } finally {
    closeSync(fd);
  }
}

/** From a process's memory. @throws Error with the code EFAULT */
export function readBytes(tid: number, address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const count = inMemory(tid, "r", (fd) => readSync(fd, bytes, 0, length, address));
  if (count !== length) throw refused("EFAULT");
  return bytes;
}

/** Into a process's memory. @throws Error with the code EFAULT */
export function writeBytes(tid: number, address: bigint, bytes: Buffer): void {
  inMemory(tid, "r+", (fd) => writeSync(fd, bytes, 0, bytes.length, Number(address)));
}

function inMemory<T>(tid: number, flags: "r" | "r+", work: (fd: number) => T): T {
  const fd = openSync(`/proc/${tid}/mem`, flags);
  try {
    return work(fd);
  } catch (error) {
    throw refused("EFAULT", error);
  } finally {
    closeSync(fd);
  }
}

/** An error that a step's call ends with. @param code The errno's name. */
export function refused(code: string, cause?: unknown): Error {
  return Object.assign(new Error(code, { cause }), { code });
}
