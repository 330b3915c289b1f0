import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { MS, type MountCalls } from "../linux/mount.js";
import type { ProcessSpec } from "./types.js";

/** A user namespace may not make device nodes, so those of the host are bound, as they are: each open to everybody. */
const NODES = ["null", "zero", "full", "random", "urandom", "tty"];
/** What BuildKit adds for an insecure step (util/entitlements/security). */
const PRIVILEGED_NODES = ["kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control"];
const LINKS: Readonly<Record<string, string>> = {
  fd: "/proc/self/fd",
  stdin: "/proc/self/fd/0",
  stdout: "/proc/self/fd/1",
  stderr: "/proc/self/fd/2",
  ptmx: "pts/ptmx",
};
/** Docker's masked and read-only paths (moby, oci/defaults.go). */
const MASKED = [
  "proc/asound",
  "proc/acpi",
  "proc/interrupts",
  "proc/kcore",
  "proc/keys",
  "proc/latency_stats",
  "proc/timer_list",
  "proc/timer_stats",
  "proc/sched_debug",
  "proc/scsi",
  "sys/firmware",
  "sys/devices/virtual/powercap",
];
const READONLY = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];
/** Docker's size of /dev/shm. */
const SHM_BYTES = 64 * 1024 * 1024;
const QUIET = MS.NOSUID | MS.NODEV | MS.NOEXEC;

export interface DevOptions {
  /** Of /dev/shm. */
  readonly shmBytes?: number;
  /** With the devices that a privileged container has, as far as this host has them. */
  readonly insecure?: boolean;
}

/** A fresh /dev at the directory `at`. @throws SystemCallError */
export function mountDev(
  at: string,
  { shmBytes = SHM_BYTES, insecure }: DevOptions,
  calls: MountCalls,
): void {
  calls.mount("tmpfs", at, "tmpfs", MS.NOSUID | MS.STRICTATIME, "mode=755,size=65536k");
  for (const name of NODES) {
    writeFileSync(`${at}/${name}`, "");
    calls.bind(`/dev/${name}`, `${at}/${name}`);
  }
  if (insecure === true) bindPrivileged(at, calls);
  for (const [name, target] of Object.entries(LINKS)) symlinkSync(target, `${at}/${name}`);
  if (existsSync("/proc/kcore")) symlinkSync("/proc/kcore", `${at}/core`);
  for (const name of ["pts", "shm", "mqueue"]) mkdirSync(`${at}/${name}`);
  mountPts(`${at}/pts`, calls);
  calls.mount("shm", `${at}/shm`, "tmpfs", QUIET, `mode=1777,size=${shmBytes}`);
  calls.mount("mqueue", `${at}/mqueue`, "mqueue", QUIET);
  // Step mounts below /dev may have to be made by the owner alone.
  chmodSync(at, 0o755);
}

/** The host's nodes, with the host's owners and modes: who may open them there may do so here. */
function bindPrivileged(at: string, calls: MountCalls): void {
  const loops = readdirSync("/dev").filter((name) => /^loop\d+$/.test(name));
  for (const name of [...PRIVILEGED_NODES, ...loops]) {
    if (!existsSync(`/dev/${name}`)) continue;
    mkdirSync(dirname(`${at}/${name}`), { recursive: true });
    writeFileSync(`${at}/${name}`, "");
    calls.bind(`/dev/${name}`, `${at}/${name}`);
  }
}

function mountPts(at: string, calls: MountCalls): void {
  const options = "newinstance,ptmxmode=0666,mode=0620";
  try {
    // 5: the group "tty" of every distribution.
    calls.mount("devpts", at, "devpts", MS.NOSUID | MS.NOEXEC, `${options},gid=5`);
  } catch {
    // A namespace of one id does not map that group.
    calls.mount("devpts", at, "devpts", MS.NOSUID | MS.NOEXEC, options);
  }
}

/** The pid namespace's own /proc; without such a namespace the outer one, with what covers parts of it. @throws SystemCallError */
export function mountProc(at: string, sharesPids: boolean, calls: MountCalls): void {
  if (sharesPids) calls.bind("/proc", at);
  else calls.mount("proc", at, "proc", QUIET);
}

/** A /sys with the control groups a program may look its limits up in; writable for `insecure`. @throws SystemCallError */
export function mountSys(
  at: string,
  { insecure, network }: Pick<ProcessSpec, "insecure" | "network">,
  calls: MountCalls,
): void {
  const writable = insecure === true;
  try {
    calls.mount("sysfs", at, "sysfs", writable ? QUIET : QUIET | MS.RDONLY);
  } catch {
    // Only the owner of the network namespace may mount one, and in a Pod, which has parts of its own covered, nobody.
    calls.bind("/sys", at);
    if (network === "none") hideInterfaces(`${at}/class/net`, calls);
    if (!writable) calls.makeReadonly(at);
    return;
  }
  const groups = "/sys/fs/cgroup";
  if (!existsSync(groups) || !existsSync(`${at}/fs/cgroup`)) return;
  calls.bind(groups, `${at}/fs/cgroup`);
  if (!writable) calls.makeReadonly(`${at}/fs/cgroup`);
}

/** Leaves what there is without a network. */
function hideInterfaces(at: string, calls: MountCalls): void {
  if (!existsSync(at)) return;
  calls.mount("net", at, "tmpfs", QUIET, "mode=755,size=4k");
  symlinkSync("../../devices/virtual/net/lo", `${at}/lo`);
}

/** Hides, or makes read-only, what Docker does below /proc and /sys of `root`. */
export function guardKernelFiles(root: string, calls: MountCalls): void {
  for (const path of MASKED) {
    const at = `${root}/${path}`;
    const stats = lstatSync(at, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    if (stats.isDirectory()) calls.mount("tmpfs", at, "tmpfs", QUIET | MS.RDONLY, "size=0");
    else calls.bind("/dev/null", at);
  }
  for (const path of READONLY) {
    const at = `${root}/${path}`;
    if (!existsSync(at)) continue;
    calls.bind(at, at);
    calls.makeReadonly(at);
  }
}
