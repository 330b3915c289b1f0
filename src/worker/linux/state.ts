import type { Libc } from "./libc.js";

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_INO = 0x100;
const STATX_SIZE = 256;
const NUMBERS: Readonly<Record<string, { readonly stat: number; readonly statx: number }>> = {
  x64: { stat: 262, statx: 332 },
  arm64: { stat: 79, statx: 291 },
};
const STAT_SIZES: Readonly<Record<string, number>> = { x64: 144, arm64: 128 };

/** A file's state in the kernel's own form, for handing on. `mask` is statx(2)'s. @throws SystemCallError */
export type StateReader = (
  path: string,
  follow: boolean,
  form: "stat" | "statx",
  mask: number,
) => Buffer;

export function openStateReader(libc: Libc): StateReader {
  const numbers = NUMBERS[process.arch] ?? { stat: -1, statx: -1 };
  const stat = libc.declareBare(
    "long syscall(long nr, long fd, const char *path, _Out_ uint8_t *into, long flags)",
  );
  const statx = libc.declareBare(
    "long syscall(long nr, long fd, const char *path, long flags, long mask, _Out_ uint8_t *into)",
  );
  return (path, follow, form, mask) => {
    const flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
    const into = Buffer.alloc(form === "stat" ? (STAT_SIZES[process.arch] ?? 0) : STATX_SIZE);
    const code =
      form === "stat"
        ? stat(numbers.stat, AT_FDCWD, path, into, flags)
        : statx(numbers.statx, AT_FDCWD, path, flags, mask | STATX_INO, into);
    if (Number(code) !== 0) throw libc.failure(form, path);
    return into;
  };
}
