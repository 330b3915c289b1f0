import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { accessSync, constants } from "node:fs";
import { entryCommand } from "../internal/entry.js";
import type { Request } from "./protocol.js";
import { mountPoints } from "./snapshot/in-place-keep.js";
import { isTakenOver } from "./snapshot/in-place-marker.js";
import type { InPlaceOptions, RefusedDriver } from "./types.js";

/** Everything that decides whether "/" may be rewritten, as this process sees it. */
export interface InPlaceFacts {
  readonly euid: number;
  /** The effective capabilities. */
  readonly capabilities: bigint;
  /** /proc/self/mountinfo. */
  readonly mountinfo: string;
  /** The target of /proc/self/ns/pid. */
  readonly pidNamespace: string;
  /** /proc/1/comm. */
  readonly firstProcess: string;
  /** /proc/1/cgroup and our own. */
  readonly cgroups: string;
  /** Absolute; of the program, its modules and every library that is mapped. */
  readonly programFiles: readonly string[];
  readonly isWritable: boolean;
  /** A kernel or a boot loader is in /boot. */
  readonly hasKernel: boolean;
  /** /etc/fstab names a device for "/". */
  readonly hasRootDevice: boolean;
  readonly hasContainerFile: boolean;
  /** Programs of a system that is no builder's: it would be deleted. */
  readonly hasSystem: boolean;
  /** What is in "/" was put there by an earlier build. */
  readonly isTakenOver: boolean;
}

type Refusal = Omit<RefusedDriver, "driver">;

/** CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETGID, CAP_SETUID: by their numbers in capability.h. */
const NEEDED: ReadonlyMap<number, string> = new Map([
  [0, "CHOWN"],
  [1, "DAC_OVERRIDE"],
  [3, "FOWNER"],
  [6, "SETGID"],
  [7, "SETUID"],
]);
/** The kernel gives the first pid namespace this number (include/linux/proc_ns.h): whoever is in it shares the machine's. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
/** First processes of machines. A container's own are called `docker-init`, `tini`, `catatonit` or by what it runs. */
const MACHINE_INITS = new Set(["systemd", "init", "openrc-init", "runit", "procd", "shepherd"]);
/** Directories that a system has: nobody's home, but everybody's. */
const SYSTEM_DIRECTORIES =
  /^(\/(boot|dev|etc|home|lib\w*|media|mnt|opt|proc|root|run|s?bin|srv|sys|tmp|usr(\/\w+)?|var(\/\w+)?))?$/;
/** Filesystems that only a container's runtime makes a root of; a live system has its own first process. */
const CONTAINER_ROOTS = new Set(["overlay", "fuse.fuse-overlayfs", "aufs", "9p", "virtiofs"]);
const CONTAINER_CGROUPS =
  /kubepods|docker|containerd|crio|libpod|lxc|garden|buildkit|actions_job|ecs|\.scope\/container/;
const CONTAINER_MOUNTS = / (\S*\/)?(kubelet\/pods|containers|docker\/containers|sandboxes)\//;

/** Whether "/" may be rewritten: only by container root, in a container that is thrown away. */
export function probeInPlace({
  inPlace,
}: Extract<Request, { op: "probeWithout" }>): Refusal | undefined {
  if (inPlace === undefined) {
    return { because: "nobody said where the builder's own files are", allowedBy: "--kaniko-dir" };
  }
  return judgeInPlace(readFacts(inPlace.home), inPlace);
}

/** The rules of docs/decisions/in-place.md, in their order. */
export function judgeInPlace(facts: InPlaceFacts, options: InPlaceOptions): Refusal | undefined {
  return (
    refuseRights(facts) ??
    refuseHost(facts) ??
    refuseProgram(facts, options) ??
    refuseEvidence(facts, options) ??
    refuseSystem(facts, options)
  );
}

function refuseRights({ euid, capabilities, isWritable }: InPlaceFacts): Refusal | undefined {
  if (euid !== 0) return { because: "only root may rewrite /", allowedBy: "runAsUser: 0" };
  const lacks = [...NEEDED].filter(([bit]) => ((capabilities >> BigInt(bit)) & 1n) === 0n);
  if (lacks.length > 0) {
    const names = lacks.map(([, name]) => name).join(", ");
    return {
      because: `it lacks the capabilities ${names}`,
      allowedBy: `capabilities.add: ${names}`,
    };
  }
  if (!isWritable) {
    return { because: "/ is read-only", allowedBy: "readOnlyRootFilesystem: false" };
  }
  return undefined;
}

/** Whatever anybody says, a machine is left alone. */
function refuseHost(facts: InPlaceFacts): Refusal | undefined {
  const sign = signOfHost(facts);
  if (sign === undefined) return undefined;
  return {
    because: `/ may be a machine's own: ${sign}`,
    allowedBy: "a container with its own root filesystem and its own processes (no hostPID)",
  };
}

function signOfHost(facts: InPlaceFacts): string | undefined {
  if (facts.pidNamespace === FIRST_PID_NAMESPACE) return "it has the machine's first pid namespace";
  if (facts.pidNamespace === "") return "/proc does not tell the pid namespace";
  const init = facts.firstProcess.trim();
  if (MACHINE_INITS.has(init)) return `its first process is ${init}`;
  const root = rootMount(facts.mountinfo);
  if (root !== undefined && isPartition(root)) {
    return `it is the whole of ${root.source} (${root.type})`;
  }
  if (facts.isTakenOver) return undefined;
  if (facts.hasKernel) return "/boot holds a kernel";
  return facts.hasRootDevice ? "/etc/fstab names a device for it" : undefined;
}

interface RootMount {
  readonly root: string;
  readonly type: string;
  readonly source: string;
}

/** The last line for "/": what is mounted over it hides the others (proc_pid_mountinfo(5)). */
function rootMount(mountinfo: string): RootMount | undefined {
  const line = mountinfo.split("\n").findLast((each) => each.split(" ")[4] === "/");
  if (line === undefined) return undefined;
  const [before = "", after = ""] = line.split(" - ");
  const [type = "", source = ""] = after.split(" ");
  return { root: before.split(" ")[3] ?? "", type, source };
}

/** A container's root on a disk is a directory of it; a btrfs machine's is a subvolume at its top. */
function isPartition({ root, type, source }: RootMount): boolean {
  const isDisk = source.startsWith("/dev/") || type === "zfs" || type === "rootfs";
  const depth = root.split("/").filter(Boolean).length;
  return isDisk && (depth === 0 || (type === "btrfs" && depth === 1));
}

/** Deleting "/" must not delete what the build itself is made of. */
function refuseProgram(
  { programFiles, mountinfo }: InPlaceFacts,
  { home, ignored }: InPlaceOptions,
): Refusal | undefined {
  const allowedBy =
    "the executor image, in which node and its libraries are in a directory of their own";
  if (!home.startsWith("/") || SYSTEM_DIRECTORIES.test(home.replace(/\/+$/, ""))) {
    return { because: `${home} is not a directory of tsbuild's own`, allowedBy };
  }
  const kept = [home, ...ignored, ...mountPoints(Buffer.from(mountinfo, "latin1"))];
  const lost = programFiles.find(
    (file) => !kept.some((path) => file === path || file.startsWith(`${path}/`)),
  );
  if (lost === undefined) return undefined;
  return { because: `tsbuild needs ${lost}, which is not below ${home}`, allowedBy };
}

function refuseEvidence(facts: InPlaceFacts, { force }: InPlaceOptions): Refusal | undefined {
  const root = rootMount(facts.mountinfo);
  const isContainer =
    facts.hasContainerFile ||
    (root !== undefined && CONTAINER_ROOTS.has(root.type)) ||
    CONTAINER_CGROUPS.test(facts.cgroups) ||
    CONTAINER_MOUNTS.test(facts.mountinfo);
  if (isContainer || force) return undefined;
  return { because: "nothing says that this is a container", allowedBy: "--force, if it is one" };
}

function refuseSystem(
  { hasSystem, isTakenOver: ours }: InPlaceFacts,
  { force, wipeFirst }: InPlaceOptions,
): Refusal | undefined {
  if (!hasSystem || ours || force || wipeFirst) return undefined;
  return {
    because: "this container holds a system of its own, which would be deleted",
    allowedBy:
      "--pre-cleanup (with --cleanup --preserve-context it is put back), or the executor image",
  };
}

function readFacts(home: string): InPlaceFacts {
  const status = read("/proc/self/status");
  const mountinfo = readFileSync("/proc/self/mountinfo", "latin1");
  return {
    euid: process.geteuid?.() ?? -1,
    capabilities: BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`),
    mountinfo,
    pidNamespace: link("/proc/self/ns/pid"),
    firstProcess: read("/proc/1/comm"),
    cgroups: `${read("/proc/1/cgroup")}${read("/proc/self/cgroup")}`,
    programFiles: programFiles(),
    isWritable: isWritable(),
    hasKernel: namesIn("/boot").some((name) => /^(vmlinu|grub|efi$|initr|loader$)/i.test(name)),
    hasRootDevice: /^\s*[^#\s]\S*\s+\/\s/m.test(read("/etc/fstab")),
    hasContainerFile: existsSync("/.dockerenv") || existsSync("/run/.containerenv"),
    hasSystem: ["/bin/sh", "/usr/bin/env", "/usr/bin/apt-get", "/etc/os-release"].some(exists),
    isTakenOver: isTakenOver(home),
  };
}

/** The program, where its modules are, and what the dynamic linker has mapped. */
function programFiles(): readonly string[] {
  const mapped = read("/proc/self/maps")
    .split("\n")
    .map((line) => line.slice(line.indexOf("/")))
    .filter((path) => path.startsWith("/") && !path.endsWith(" (deleted)") && exists(path));
  return [...new Set([process.execPath, ...entryCommand("child.cjs"), ...mapped])];
}

function isWritable(): boolean {
  try {
    accessSync("/", constants.W_OK);
    return statSync("/").isDirectory();
  } catch {
    return false;
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
