import { constants } from "node:os";
import { S_IFBLK, S_IFCHR } from "../linux/files.js";
import { attributeCalls, NODE_CALLS } from "./attribute-calls.js";
import {
  GROUPS_CALL,
  NAME_CALL,
  OWNER_CALLS,
  RESOLVED_ID_CALLS,
  STATE_CALLS,
} from "./owner-calls.js";

/** AUDIT_ARCH_* */
const ARCHITECTURES: Readonly<Record<string, number>> = { x64: 0xc000003e, arm64: 0xc00000b7 };

const LOAD = 0x20;
const AND = 0x54;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const NOTIFY = 0x7fc00000;
/** SECCOMP_RET_ERRNO: with 0 the call is left out, and gives 0. */
const ERRNO = 0x00050000;
const ARCHITECTURE_AT = 4;
const ARGUMENTS_AT = 16;
const S_IFMT = 0o170000;

/** getuid and getgid. */
const ID_CALLS: Readonly<Record<string, readonly number[]>> = {
  x64: [102, 104],
  arm64: [174, 176],
};

/**
 * Calls with paths that an older proot lets pass as they are, so that they are about files of the builder: openat2,
 * faccessat2, fchmodat2, the calls on attributes and flags with a directory, and io_uring_setup, whose rings open
 * files. Who gets ENOSYS takes the older call. The numbers are the same everywhere.
 */
const UNTRANSLATED_CALLS = [425, 437, 439, 452, 463, 464, 465, 466, 468, 469];

/** What becomes of a call. */
interface Rule {
  readonly call: number;
  readonly action: number;
  /** Index of a mode among the arguments: only where it is that of a device. */
  readonly deviceMode?: number;
}

/**
 * A seccomp filter for proot itself: it hears that it is root. It swaps its own id and the one that it pretends in what
 * programs ask for, and then nobody could tell whom a file was given to.
 */
export function zeroFilter(): Uint8Array | undefined {
  const calls = ID_CALLS[process.arch];
  return calls === undefined ? undefined : filterOf(rules(calls, ERRNO));
}

/** A seccomp filter that hands on what the kernel would refuse or tell otherwise, and lets every other call go its way (`struct sock_filter`). */
export function ownerFilter(): Uint8Array | undefined {
  const [owners, states] = [OWNER_CALLS[process.arch], STATE_CALLS[process.arch]];
  const [groups, name] = [GROUPS_CALL[process.arch], NAME_CALL[process.arch]];
  const [ids, nodes] = [RESOLVED_ID_CALLS[process.arch], NODE_CALLS[process.arch]];
  if (owners === undefined || states === undefined || groups === undefined) return undefined;
  if (ids === undefined || nodes === undefined || name === undefined) return undefined;
  const handed = [...states.keys(), ...owners.keys(), ...attributeCalls().keys()];
  return filterOf([
    ...rules([...handed, groups, ...ids, name], NOTIFY),
    ...[...nodes].map(([call, { mode }]) => ({ call, action: NOTIFY, deviceMode: mode })),
    ...rules(UNTRANSLATED_CALLS, ERRNO | constants.errno.ENOSYS),
  ]);
}

function rules(calls: readonly number[], action: number): readonly Rule[] {
  return calls.map((call) => ({ call, action }));
}

function filterOf(all: readonly Rule[]): Uint8Array {
  return Buffer.concat([
    instruction(LOAD, 0, 0, ARCHITECTURE_AT),
    instruction(JUMP_IF_EQUAL, 1, 0, ARCHITECTURES[process.arch] ?? 0),
    instruction(RETURN, 0, 0, ALLOW),
    instruction(LOAD, 0, 0, 0),
    ...all.map(codeOf),
    instruction(RETURN, 0, 0, ALLOW),
  ]);
}

/** Ends with the rule's action, or goes on behind itself with the call's number as it was. */
function codeOf({ call, action, deviceMode }: Rule): Buffer {
  const act = instruction(RETURN, 0, 0, action);
  if (deviceMode === undefined) return Buffer.concat([instruction(JUMP_IF_EQUAL, 0, 1, call), act]);
  return Buffer.concat([
    instruction(JUMP_IF_EQUAL, 0, 6, call),
    instruction(LOAD, 0, 0, ARGUMENTS_AT + 8 * deviceMode),
    instruction(AND, 0, 0, S_IFMT),
    instruction(JUMP_IF_EQUAL, 1, 0, S_IFCHR),
    instruction(JUMP_IF_EQUAL, 0, 1, S_IFBLK),
    act,
    instruction(RETURN, 0, 0, ALLOW),
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
