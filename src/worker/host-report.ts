import { statfsSync } from "node:fs";
import { release } from "node:os";
import { readKernelFile, type ReadKernelFile } from "./memory.js";
import { hidesProc } from "./namespaces.js";

/** What decides what a build may do here: evidence to explain a refusal with, never to predict one from. */
export interface HostFacts {
  readonly uid: number;
  readonly gid: number;
  /** Effective ones, without `CAP_`. */
  readonly capabilities: readonly string[];
  readonly seccomp: "none" | "strict" | "filter";
  readonly noNewPrivileges: boolean;
  /** The profile or label that confines this process, as the security module calls it; empty: none. */
  readonly confinement: string;
  readonly securityModules: readonly string[];
  /** The lines of /proc/self/uid_map, single-spaced. */
  readonly uidMap: string;
  readonly gidMap: string;
  /** Parts of /proc are covered. */
  readonly hidesProc: boolean;
  /** Of the store. */
  readonly filesystem: string;
  readonly kernel: string;
  /** Sysctls that forbid user namespaces, by name, where the kernel has them. */
  readonly sysctls: Readonly<Record<string, string>>;
}

/** The names of capability.h, by number. */
const CAPABILITIES =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE".split(
    " ",
  );
const SYSCTLS = [
  "user/max_user_namespaces",
  "kernel/unprivileged_userns_clone",
  "kernel/apparmor_restrict_unprivileged_userns",
];
const SECCOMP = ["none", "strict", "filter"] as const;
/** statfs(2): the magic numbers of filesystems that a store is often on. */
const FILESYSTEMS: Readonly<Record<number, string>> = {
  0x794c7630: "overlay",
  0xef53: "ext4",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0x01021994: "tmpfs",
  0x6969: "nfs",
  0x65735546: "fuse",
  0x2fc12fc1: "zfs",
  0x01021997: "9p",
  0xf2f52010: "f2fs",
};

/** Reads them all; what cannot be read counts as absent. `place` is a path on the store's filesystem. */
export function readHostFacts(place: string, read: ReadKernelFile = readKernelFile): HostFacts {
  const status = read("/proc/self/status") ?? "";
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "";
  const [, uid] = field("Uid").split(/\s+/).map(Number);
  const [, gid] = field("Gid").split(/\s+/).map(Number);
  return {
    uid: uid ?? process.geteuid?.() ?? 0,
    gid: gid ?? process.getegid?.() ?? 0,
    capabilities: capabilityNames(field("CapEff")),
    seccomp: SECCOMP[Number(field("Seccomp"))] ?? "none",
    noNewPrivileges: field("NoNewPrivs") === "1",
    confinement: confinementOf(read("/proc/self/attr/current") ?? ""),
    securityModules: (read("/sys/kernel/security/lsm") ?? "").trim().split(",").filter(Boolean),
    uidMap: flatten(read("/proc/self/uid_map")),
    gidMap: flatten(read("/proc/self/gid_map")),
    hidesProc: hidesProc(read("/proc/self/mountinfo") ?? ""),
    filesystem: filesystemOf(place),
    kernel: release(),
    sysctls: Object.fromEntries(
      SYSCTLS.map((path) => [path.replaceAll("/", "."), read(`/proc/sys/${path}`)?.trim()]).filter(
        (entry): entry is [string, string] => entry[1] !== undefined,
      ),
    ),
  };
}

/** Of the hexadecimal set in /proc/PID/status. */
function capabilityNames(set: string): readonly string[] {
  const bits = BigInt(`0x${set === "" ? "0" : set}`);
  return CAPABILITIES.filter((_, at) => ((bits >> BigInt(at)) & 1n) === 1n);
}

/** "unconfined" is AppArmor's word for none, and an unconfined SELinux type confines nothing either. */
function confinementOf(label: string): string {
  const text = label.replaceAll("\0", "").trim();
  return text === "unconfined" || text.includes(":unconfined_t:") || text === "kernel" ? "" : text;
}

function flatten(map: string | undefined): string {
  return (map ?? "")
    .trim()
    .replaceAll(/[^\S\n]+/g, " ")
    .replaceAll("\n ", ", ");
}

function filesystemOf(place: string): string {
  try {
    const { type } = statfsSync(place);
    return FILESYSTEMS[type] ?? `0x${type.toString(16)}`;
  } catch {
    return "unknown";
  }
}
