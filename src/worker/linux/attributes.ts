import type { BareFunction, Libc } from "./libc.js";

/** The kernel's own limit for one attribute's value and for the list of names, in bytes. */
const ATTRIBUTE_MAX = 64 * 1024;

/** Extended attributes as their system calls have them (xattr(7)): for handing on. They throw {@link SystemCallError}s. */
export interface AttributeCalls {
  /** `flags`: XATTR_CREATE or XATTR_REPLACE. */
  set(at: AttributePlace, value: Uint8Array, flags: number): void;
  get(at: AttributePlace): Buffer;
  /** Names, each with a NUL behind it. */
  list(at: Omit<AttributePlace, "name">): Buffer;
  remove(at: AttributePlace): void;
}

/** Of which file, and which of its attributes. */
export interface AttributePlace {
  readonly path: string;
  /** Whether a symlink in the last place is followed. */
  readonly follow: boolean;
  readonly name: string;
}

export function openAttributeCalls(libc: Libc): AttributeCalls {
  const both = (prototype: (prefix: string) => string): Record<"l" | "", BareFunction> => ({
    l: libc.declareBare(prototype("l")),
    "": libc.declareBare(prototype("")),
  });
  const set = both(
    (l) =>
      `int ${l}setxattr(const char *path, const char *name, const uint8_t *value, uint64_t size, int flags)`,
  );
  const get = both(
    (l) =>
      `int64_t ${l}getxattr(const char *path, const char *name, _Out_ uint8_t *value, uint64_t size)`,
  );
  const list = both(
    (l) => `int64_t ${l}listxattr(const char *path, _Out_ uint8_t *list, uint64_t size)`,
  );
  const remove = both((l) => `int ${l}removexattr(const char *path, const char *name)`);
  const checked = (call: string, path: string, code: number | bigint): number => {
    if (Number(code) < 0) throw libc.failure(call, path);
    return Number(code);
  };
  const formOf = (follow: boolean): "l" | "" => (follow ? "" : "l");
  return {
    set({ path, follow, name }, value, flags) {
      const code = set[formOf(follow)](path, name, value, value.length, flags);
      checked("setxattr", path, code);
    },
    get({ path, follow, name }) {
      const into = Buffer.alloc(ATTRIBUTE_MAX);
      const code = get[formOf(follow)](path, name, into, into.length);
      return into.subarray(0, checked("getxattr", path, code));
    },
    list({ path, follow }) {
      const into = Buffer.alloc(ATTRIBUTE_MAX);
      const code = list[formOf(follow)](path, into, into.length);
      return into.subarray(0, checked("listxattr", path, code));
    },
    remove({ path, follow, name }) {
      checked("removexattr", path, remove[formOf(follow)](path, name));
    },
  };
}
