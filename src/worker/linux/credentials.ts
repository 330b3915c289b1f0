import { errnoOf } from "../../errors.js";
import type { CFunction, Libc } from "./libc.js";

const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_KEEPCAPS = 8;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
/** _LINUX_CAPABILITY_VERSION_3: two sets of 32 bits each. */
const CAPABILITY_VERSION = 0x20080522;

/**
 * What a container's processes may have by default, in Docker as in BuildKit (moby, oci/caps/defaults.go). The numbers are those of
 * capability.h.
 */
export const DEFAULT_CAPABILITIES: readonly number[] = [
  0, // CHOWN
  1, // DAC_OVERRIDE
  3, // FOWNER
  4, // FSETID
  5, // KILL
  6, // SETGID
  7, // SETUID
  8, // SETPCAP
  10, // NET_BIND_SERVICE
  13, // NET_RAW
  18, // SYS_CHROOT
  27, // MKNOD
  29, // AUDIT_WRITE
  31, // SETFCAP
];

export interface CredentialCalls {
  /** Capabilities that this process and its descendants can never have again: all but `keep`. @throws SystemCallError */
  boundCapabilities(keep: readonly number[]): void;
  /** Supplementary groups. @throws SystemCallError EPERM where a namespace denies it */
  setgroups(groups: readonly number[]): void;
  /** Real, effective and saved group, then user, of the calling thread. @throws SystemCallError EINVAL: the namespace does not map the id */
  become(uid: number, gid: number): void;
  /** Like `become`, but the next program has every capability of this process, whatever its user. @throws SystemCallError */
  becomeWithAll(uid: number, gid: number): void;
  /** Empties the inheritable and the ambient set: what the next program gets is decided by its user alone. */
  clearInheritable(): void;
}

export function openCredentialCalls(libc: Libc): CredentialCalls {
  const prctl = libc.declare(
    "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
  );
  const { setgroups, setresgid, setresuid } = declareIdentity(libc);
  const capget = libc.declare("int capget(void *header, void *data)");
  const capset = libc.declare("int capset(void *header, void *data)");
  return {
    boundCapabilities: (keep) => {
      for (let capability = 0; capability < 64; capability++) {
        if (keep.includes(capability)) continue;
        try {
          if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) === 1) {
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
          }
        } catch (error) {
          // EINVAL: the kernel has no capability of that number or above.
          if (errnoOf(error) === "EINVAL") return;
          throw error;
        }
      }
    },
    setgroups: (groups) => {
      setgroups(groups.length, new Uint8Array(new Uint32Array(groups).buffer));
    },
    become: (uid, gid) => {
      setresgid(gid, gid, gid);
      setresuid(uid, uid, uid);
    },
    becomeWithAll: (uid, gid) => {
      prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
      setresgid(gid, gid, gid);
      setresuid(uid, uid, uid);
      const { sets, bytes, header } = readSets(capget);
      const all = grantPermitted(sets);
      capset(header, bytes);
      for (const capability of all) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
    },
    clearInheritable: () => {
      prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
      const { sets, bytes, header } = readSets(capget);
      sets[2] = 0;
      sets[5] = 0;
      capset(header, bytes);
    },
  };
}

interface CapabilitySets {
  /** Two times effective, permitted, inheritable: the lower 32 capabilities, then the others. */
  readonly sets: Uint32Array;
  /** The same memory. */
  readonly bytes: Uint8Array;
  readonly header: Uint8Array;
}

function readSets(capget: CFunction): CapabilitySets {
  const header = new Uint8Array(new Uint32Array([CAPABILITY_VERSION, 0]).buffer);
  const sets = new Uint32Array(6);
  const bytes = new Uint8Array(sets.buffer);
  capget(header, bytes);
  return { sets, bytes, header };
}

/** Makes effective and inheritable what is permitted: only what is inheritable can be made ambient. @returns the numbers of them all */
function grantPermitted(sets: Uint32Array): readonly number[] {
  const all: number[] = [];
  for (const half of [0, 1]) {
    const permitted = sets[half * 3 + 1] ?? 0;
    sets[half * 3] = permitted;
    sets[half * 3 + 2] = permitted;
    for (let bit = 0; bit < 32; bit++) {
      if (((permitted >>> bit) & 1) === 1) all.push(half * 32 + bit);
    }
  }
  return all;
}

/**
 * The bare calls, which concern the calling thread alone: the C library's own versions interrupt every thread of the
 * process and wait for each of them, and execve ends those threads anyway.
 */
function declareIdentity(libc: Libc): Record<"setgroups" | "setresgid" | "setresuid", CFunction> {
  const numbers = process.arch === "x64" ? [116, 119, 117] : [159, 149, 147];
  const ids = ["uint32_t", "uint32_t", "uint32_t"];
  return {
    setgroups: libc.declareCall("setgroups", numbers[0] ?? -1, ["size_t", "void *"]),
    setresgid: libc.declareCall("setresgid", numbers[1] ?? -1, ids),
    setresuid: libc.declareCall("setresuid", numbers[2] ?? -1, ids),
  };
}
