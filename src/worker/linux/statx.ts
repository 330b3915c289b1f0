import { endianness } from "node:os";
import type { Statx } from "../../internal/statx.js";
import { loadLibc } from "./libc.js";

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
/** Words of the kernel's `struct statx`. */
const SIZE = 64;
/** An old C library has no function of the name. */
const NUMBERS: Readonly<Record<string, number>> = { x64: 332, arm64: 291 };

/** Loads what calls C. `undefined` where that cannot be done, or the call is not there. */
export function loadStatx(): Statx | undefined {
  const number = NUMBERS[process.arch];
  if (number === undefined || endianness() !== "LE") return undefined;
  try {
    const call = loadLibc().declareBare(
      "long syscall(long nr, long fd, const char *path, long flags, long mask, void *into)",
    );
    const words = new Uint32Array(SIZE);
    const bytes = new Uint8Array(words.buffer);
    const look = (path: string): boolean =>
      Number(call(number, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, bytes)) === 0 &&
      ((words[0] ?? 0) & STATX_BASIC_STATS) === STATX_BASIC_STATS;
    return look("/") ? { words, look } : undefined;
  } catch {
    return undefined;
  }
}
