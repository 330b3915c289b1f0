import { createRequire } from "node:module";
import { constants } from "node:os";

/** What may cross into C: numbers, 64-bit numbers, text, buffers, and null-terminated lists of text. */
export type CValue = number | bigint | string | null | Uint8Array | readonly (string | null)[];

/** A C function whose result of -1 is thrown as a {@link SystemCallError}. */
export type CFunction = (...values: readonly CValue[]) => number;

/** A C function as it is: its caller looks at the result, and asks for the errno before it calls anything else. */
export type BareFunction = (...values: readonly CValue[]) => number | bigint;

/** What is used of koffi. Its machine code alone has it too. */
type Koffi = Pick<typeof import("koffi"), "load" | "errno">;

/** The C library of this process. Made once per process or thread and handed on: loading takes about 10 ms. */
export interface Libc {
  /** Declares a function by its C prototype, such as "int chroot(const char *path)". */
  declare(prototype: string): CFunction;
  /** The same for what is called once a file, or fails as often as not: without the cost of checking. */
  declareBare(prototype: string): BareFunction;
  /** Of the last failed call of this thread: the number, as in `os.constants.errno`. */
  errno(): number;
  /** The last failed call of this thread as an error. `about`: the path or descriptor that it was made for. */
  failure(syscall: string, about: string | Buffer): SystemCallError;
  /** Declares a system call that the C library may lack a wrapper for, by number; `types` are those of its arguments. */
  declareCall(name: string, number: number, types: readonly string[]): CFunction;
}

/** A failed system call. `code` is the errno's name, as Node's own errors have it. */
export class SystemCallError extends Error {
  override readonly name: string = "SystemCallError";
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string, code: string, about?: string) {
    super(`${syscall}${about === undefined ? "" : ` '${about}'`}: ${describe(code)}`);
    this.code = code;
    this.syscall = syscall;
  }
}

/** @param addon Of {@link addonArguments}. To look for it takes four times as long as to load it. */
export function loadLibc(addon?: string): Libc {
  const koffi = createRequire(import.meta.url)(addon ?? "koffi") as Koffi;
  const library = koffi.load(null);
  const checked =
    (name: string, call: (...values: readonly CValue[]) => unknown): CFunction =>
    (...values) => {
      const result = Number(call(...values));
      if (result === -1) throw new SystemCallError(name, errnoName(koffi.errno()));
      return result;
    };
  return {
    declare: (prototype) => {
      const name = /(\w+)\s*\(/.exec(prototype)?.[1] ?? prototype;
      return checked(name, library.func(prototype));
    },
    declareBare: (prototype) => library.func(prototype) as BareFunction,
    errno: () => koffi.errno(),
    failure: (syscall, about) =>
      new SystemCallError(syscall, errnoName(koffi.errno()), about.toString()),
    declareCall: (name, number, types) => {
      const call = library.func("syscall", "long", ["long", ...types]);
      return checked(name, (...values) => call(number, ...values));
    },
  };
}

/**
 * Arguments for a process or thread that hands the first one on to {@link loadLibc}: where this one, which has called
 * that, has koffi's machine code from.
 */
export function addonArguments(): string[] {
  const { cache } = createRequire(import.meta.url);
  return Object.keys(cache)
    .filter((path) => path.endsWith("/koffi.node"))
    .slice(0, 1);
}

/** util.getSystemErrorName does not know them all: ENOEXEC, for one. */
function errnoName(number: number): string {
  const found = Object.entries(constants.errno).find(([, value]) => value === number);
  return found?.[0] ?? `errno ${number}`;
}

/** The texts of strerror(3) for what people meet; the name alone for the rest. */
function describe(code: string): string {
  const texts: Readonly<Record<string, string>> = {
    EPERM: "operation not permitted",
    EEXIST: "file already exists",
    EACCES: "permission denied",
    ENOENT: "no such file or directory",
    EINVAL: "invalid argument",
    ENOSYS: "function not implemented",
    ENOTDIR: "not a directory",
    ENODEV: "no such device",
    ENOSPC: "no space left on device",
    EBUSY: "device or resource busy",
    ENOEXEC: "exec format error",
    EROFS: "read-only file system",
    EXDEV: "cross-device link",
    ELOOP: "too many levels of symbolic links",
    E2BIG: "argument list too long",
    EISDIR: "is a directory",
    ETXTBSY: "text file busy",
    ENOMEM: "cannot allocate memory",
    EUSERS: "too many users",
  };
  const text = texts[code];
  return text === undefined ? code : `${text} (${code})`;
}
