/** The calls that give files to others, by number, with where their arguments are. */
export interface OwnerCall {
  /** Index of the descriptor that the path is relative to; absent: the working directory. */
  readonly directory?: number;
  /** Index of the path; absent: the descriptor itself is meant. */
  readonly path?: number;
  readonly owner: number;
  /** Whether a symlink in the last place is followed; a number: the index of the flags that say so. */
  readonly follow: boolean | number;
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
export interface StateCall {
  readonly directory?: number;
  readonly path?: number;
  /** Index of the address that the state goes to. */
  readonly into: number;
  readonly follow: boolean | number;
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
}
const STATX_LAYOUT: StateLayout = { size: 256, inode: 32, mode: 28, uid: 20, gid: 24 };
const STAT_LAYOUTS: Readonly<Record<string, StateLayout>> = {
  x64: { size: 144, inode: 8, mode: 24, uid: 28, gid: 32 },
  arm64: { size: 128, inode: 8, mode: 16, uid: 24, gid: 28 },
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

/** AUDIT_ARCH_* */
const ARCHITECTURES: Readonly<Record<string, number>> = { x64: 0xc000003e, arm64: 0xc00000b7 };

const LOAD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const NOTIFY = 0x7fc00000;
const ARCHITECTURE_AT = 4;

/** getuid and getgid. */
const ID_CALLS: Readonly<Record<string, readonly number[]>> = {
  x64: [102, 104],
  arm64: [174, 176],
};
/** SECCOMP_RET_ERRNO with no error at all: the call is left out, and gives 0. */
const ZERO = 0x00050000;

/**
 * A seccomp filter for proot itself: it hears that it is root. It swaps its own id and the one that it pretends in what
 * programs ask for, and then nobody could tell whom a file was given to.
 */
export function zeroFilter(): Uint8Array | undefined {
  const calls = ID_CALLS[process.arch];
  return calls === undefined ? undefined : filterOf(calls, ZERO);
}

/** A seccomp filter that hands these calls on, and lets every other go its way (`struct sock_filter`). */
export function ownerFilter(): Uint8Array | undefined {
  const owners = OWNER_CALLS[process.arch];
  const states = STATE_CALLS[process.arch];
  const groups = GROUPS_CALL[process.arch];
  const ids = RESOLVED_ID_CALLS[process.arch];
  if (owners === undefined || states === undefined) return undefined;
  if (groups === undefined || ids === undefined) return undefined;
  return filterOf([...owners.keys(), ...states.keys(), groups, ...ids], NOTIFY);
}

function filterOf(numbers: readonly number[], action: number): Uint8Array {
  const architecture = ARCHITECTURES[process.arch] ?? 0;
  const toAllow = numbers.length + 1;
  return Buffer.concat([
    instruction(LOAD, 0, 0, ARCHITECTURE_AT),
    instruction(JUMP_IF_EQUAL, 0, toAllow, architecture),
    instruction(LOAD, 0, 0, 0),
    ...numbers.map((call, index) => instruction(JUMP_IF_EQUAL, numbers.length - index, 0, call)),
    instruction(RETURN, 0, 0, ALLOW),
    instruction(RETURN, 0, 0, action),
  ]);
}

function instruction(code: number, yes: number, no: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes[2] = yes;
  bytes[3] = no;
  bytes.writeUInt32LE(value >>> 0, 4);
  return bytes;
}
