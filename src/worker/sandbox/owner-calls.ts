import type { PathShape } from "./caller.js";

/** The calls that give files to others, by number, with where their arguments are. */
export interface OwnerCall extends PathShape {
  readonly owner: number;
}

const AT: OwnerCall = { directory: 0, path: 1, owner: 2, follow: 4 };
const BY_FD: OwnerCall = { directory: 0, owner: 1, follow: true };

/** x64 and arm64 (linux/unistd.h). */
export const OWNER_CALLS: Readonly<Record<string, ReadonlyMap<number, OwnerCall>>> = {
  x64: new Map([
    [92, { path: 0, owner: 1, follow: true }],
    [93, BY_FD],
    [94, { path: 0, owner: 1, follow: false }],
    [260, AT],
  ]),
  arm64: new Map([
    [54, AT],
    [55, BY_FD],
  ]),
};

/** The calls that tell whose a file is. */
export interface StateCall extends PathShape {
  /** Index of the address that the state goes to. */
  readonly into: number;
  readonly form: "stat" | "statx";
}

const STATX: StateCall = { directory: 0, path: 1, into: 4, follow: 2, form: "statx" };
const STAT_AT: StateCall = { directory: 0, path: 1, into: 2, follow: 3, form: "stat" };
const STAT_FD: StateCall = { directory: 0, into: 1, follow: true, form: "stat" };

export const STATE_CALLS: Readonly<Record<string, ReadonlyMap<number, StateCall>>> = {
  x64: new Map([
    [4, { path: 0, into: 1, follow: true, form: "stat" }],
    [5, STAT_FD],
    [6, { path: 0, into: 1, follow: false, form: "stat" }],
    [262, STAT_AT],
    [332, STATX],
  ]),
  arm64: new Map([
    [79, STAT_AT],
    [80, STAT_FD],
    [291, STATX],
  ]),
};

/** Where things are in the kernel's answers, in bytes. */
export interface StateLayout {
  readonly size: number;
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly device: number;
}
const STATX_LAYOUT: StateLayout = { size: 256, inode: 32, mode: 28, uid: 20, gid: 24, device: 128 };
const STAT_LAYOUTS: Readonly<Record<string, StateLayout>> = {
  x64: { size: 144, inode: 8, mode: 24, uid: 28, gid: 32, device: 40 },
  arm64: { size: 128, inode: 8, mode: 16, uid: 24, gid: 28, device: 32 },
};

export function layoutOf(form: StateCall["form"]): StateLayout {
  return form === "statx" ? STATX_LAYOUT : (STAT_LAYOUTS[process.arch] ?? STATX_LAYOUT);
}

/** getgroups */
export const GROUPS_CALL: Readonly<Record<string, number>> = { x64: 115, arm64: 158 };

/**
 * getresuid and getresgid. proot writes what it pretends over the kernel's answer, but only the lower half of each
 * number: of an id above 65535, such as OpenShift's, the upper half would stay.
 */
export const RESOLVED_ID_CALLS: Readonly<Record<string, readonly number[]>> = {
  x64: [118, 120],
  arm64: [148, 150],
};

/** uname, where the step's own name for its machine is. */
export const NAME_CALL: Readonly<Record<string, number>> = { x64: 63, arm64: 160 };
