import { readFileSync } from "node:fs";
import { errnoOf } from "../../errors.js";
import type { Libc } from "./libc.js";
import { openPlaceCalls } from "./place.js";

/** Flags of mount(2). */
export const MS = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  REMOUNT: 0x20,
  NOATIME: 0x400,
  NODIRATIME: 0x800,
  BIND: 0x1000,
  MOVE: 0x2000,
  REC: 0x4000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  RELATIME: 0x200000,
  STRICTATIME: 0x1000000,
} as const;

const MNT_DETACH = 2;
const AT_FDCWD = -100;
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_RDONLY = 0x1n;
/** mount_setattr(2), Linux 5.12: the same number on every architecture. */
const SYS_MOUNT_SETATTR = 442;

export interface MountCalls {
  /** mount(2). @throws SystemCallError */
  mount(source: string, target: string, type: string, flags: number, data?: string): void;
  /** Binds `source`, with every mount below it: a part of a locked tree cannot be bound alone. @throws SystemCallError */
  bind(source: string, target: string): void;
  /** Makes the mount at `path` and all mounts below it read-only. @throws SystemCallError */
  makeReadonly(path: string): void;
  /** Cuts every mount off from the namespace it was copied from. @throws SystemCallError */
  makePrivate(): void;
  /** Detaches lazily. @throws SystemCallError */
  unmount(path: string): void;
  /** Makes the current directory, which is a mount point, the root, and drops the old one. @throws SystemCallError */
  enterRoot(): void;
}

export function openMountCalls(libc: Libc): MountCalls {
  const mount = libc.declare(
    "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
  );
  const umount = libc.declare("int umount2(const char *target, int flags)");
  const place = openPlaceCalls(libc);
  const setattr = libc.declareCall("mount_setattr", SYS_MOUNT_SETATTR, [
    "int",
    "const char *",
    "int",
    "void *",
    "size_t",
  ]);
  const pivotRoot = libc.declareCall("pivot_root", pivotRootNumber(), [
    "const char *",
    "const char *",
  ]);
  const remountReadonly = (path: string): void => {
    for (const each of mountsBelow(readFileSync("/proc/self/mountinfo", "utf8"), path)) {
      const flags = MS.REMOUNT | MS.BIND | MS.RDONLY | each.flags;
      mount("none", each.path, null, flags, null);
    }
  };
  return {
    mount: (source, target, type, flags, data) => {
      mount(source, target, type, flags, data ?? null);
    },
    bind: (source, target) => {
      mount(source, target, null, MS.BIND | MS.REC, null);
    },
    makeReadonly: (path) => {
      const attributes = new BigUint64Array([MOUNT_ATTR_RDONLY, 0n, 0n, 0n]);
      try {
        setattr(AT_FDCWD, path, AT_RECURSIVE, new Uint8Array(attributes.buffer), 32);
      } catch (error) {
        // An older kernel, or a seccomp profile that does not know the call.
        if (errnoOf(error) !== "ENOSYS" && errnoOf(error) !== "EPERM") throw error;
        remountReadonly(path);
      }
    },
    makePrivate: () => {
      mount("none", "/", null, MS.REC | MS.PRIVATE, null);
    },
    unmount: (path) => {
      umount(path, MNT_DETACH);
    },
    enterRoot: () => {
      try {
        pivotRoot(".", ".");
        umount(".", MNT_DETACH);
      } catch (error) {
        // Docker's seccomp profile refuses pivot_root even to CAP_SYS_ADMIN; EINVAL: "/" is the initial ramfs.
        if (!["EPERM", "ENOSYS", "EINVAL"].includes(errnoOf(error) ?? "")) throw error;
        mount(".", "/", null, MS.MOVE, null);
        place.chroot(".");
      }
      place.chdir("/");
    },
  };
}

function pivotRootNumber(): number {
  return process.arch === "x64" ? 155 : 41;
}

interface Mounted {
  readonly path: string;
  /** What a remount must repeat: in a user namespace these are locked. */
  readonly flags: number;
}

/** The mounts at and below `path` by /proc/self/mountinfo (proc_pid_mountinfo(5)), with their flags. */
export function mountsBelow(mountinfo: string, path: string): readonly Mounted[] {
  const found: Mounted[] = [];
  for (const line of mountinfo.split("\n")) {
    const [, , , , escaped, options] = line.split(" ");
    if (escaped === undefined || options === undefined) continue;
    const at = escaped.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    if (at !== path && !at.startsWith(path === "/" ? "/" : `${path}/`)) continue;
    found.push({ path: at, flags: flagsOf(options) });
  }
  return found;
}

function flagsOf(options: string): number {
  const known: Readonly<Record<string, number>> = {
    ro: MS.RDONLY,
    nosuid: MS.NOSUID,
    nodev: MS.NODEV,
    noexec: MS.NOEXEC,
    noatime: MS.NOATIME,
    nodiratime: MS.NODIRATIME,
    relatime: MS.RELATIME,
  };
  return options.split(",").reduce((flags, option) => flags | (known[option] ?? 0), 0);
}
