/** Runs contexts that `podman kube play` cannot express, and all others too, by a config.json for crun or runc as Kubernetes' runtimes write it. */
import { chmod, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PodContext, SeccompName } from "./pod-contexts.js";
import { volumesOf, type PodRequest, type PodVolume } from "./pod-request.js";
import { seccompFor, type SeccompProfile } from "./pod-seccomp.js";
import type { PodHost } from "./pods-host.js";
import { POD_IDS } from "./pods-root.js";
import type { Outcome, RunOptions } from "./tools.js";

const DEFAULT_TIMEOUT_MS = 300_000;
const MASKED = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];
const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

export interface CrunOptions {
  readonly runtime?: "crun" | "runc";
  readonly timeoutMs?: number;
  readonly onStart?: RunOptions["onStart"];
}

/**
 * The container's root is an overlay over the image's layers; with users of its own the layers are mounted with the ids
 * moved, as containerd does. All mounts are in a namespace that ends with the script.
 */
const SCRIPT = `set -eu
cd "$1"; lowers=$2; shift=$3; memory=$4; shift 4
if [ "$shift" != 0 ]; then
  moved=; i=0
  for lower in $(echo "$lowers" | tr : ' '); do
    mkdir -p "lower$i"
    mount --bind -o "X-mount.idmap=b:0:$shift:${POD_IDS.perPod}" "$lower" "lower$i"
    moved="$moved\${moved:+:}$PWD/lower$i"; i=$((i + 1))
  done
  lowers=$moved
fi
# mount(2): what fsconfig(2) takes has at most 256 bytes, and the layers' names are longer.
LIBMOUNT_FORCE_MOUNT2=always mount -t overlay overlay -o "lowerdir=$lowers,upperdir=$PWD/upper,workdir=$PWD/work" "$PWD/root"
if [ -n "$memory" ]; then
  for volume in $memory; do
    mount -t tmpfs -o "mode=1777,uid=$shift,gid=$shift" tmpfs "$volume"
  done
fi
exec "$@"
`;

/** Runs a request, and removes what it made when the host stops. */
export async function runByCrun(
  host: PodHost,
  request: PodRequest,
  { runtime = "crun", timeoutMs = DEFAULT_TIMEOUT_MS, onStart }: CrunOptions = {},
): Promise<Outcome> {
  const { context } = request;
  const id = `pod-${process.pid}-${process.hrtime.bigint()}`;
  const bundle = join(host.dir, "bundles", id);
  const owner = context.ownUsers ? POD_IDS.first : 0;
  for (const name of ["upper", "work", "root", "volumes"]) {
    await mkdir(join(bundle, name), { recursive: true });
  }
  try {
    const image = await inspectImage(host, request.image);
    const volumes = await makeVolumes(bundle, volumesOf(request));
    const mounted = [...(await makeNetworkFiles(bundle)), ...volumes.map(({ mount }) => mount)];
    const config = await configOf(host, request, image, mounted);
    await writeFile(join(bundle, "config.json"), JSON.stringify(config, null, 1));
    if (owner !== 0) await host.mustRun(["chown", "-R", `${owner}:${owner}`, bundle]);
    const memory = volumes.filter(({ inMemory }) => inMemory).map(({ mount }) => mount.source);
    const start =
      runtime === "crun"
        ? ["crun", "--cgroup-manager=disabled", "run", "--bundle", bundle, id]
        : ["runc", "run", "--bundle", bundle, id];
    const script = ["sh", "-c", SCRIPT, "sh", bundle, image.lowers, String(owner)];
    return await host.run(
      ["unshare", "--mount", "--propagation", "private", ...script, memory.join(" "), ...start],
      { timeoutMs, ...(onStart === undefined ? {} : { onStart }) },
    );
  } finally {
    await host.run([runtime, "delete", "--force", id]);
    await host.run(["rm", "-rf", bundle]);
  }
}

interface Image {
  /** The layers' directories, the highest first, with colons between. */
  readonly lowers: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
}

interface Inspected {
  readonly Config: {
    readonly Entrypoint?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly Env?: readonly string[];
    readonly WorkingDir?: string;
  };
  readonly GraphDriver: { readonly Data: Readonly<Record<string, string>> };
}

async function inspectImage(host: PodHost, image: string): Promise<Image> {
  const text = await host.mustRun(["podman", "image", "inspect", image]);
  const [found] = JSON.parse(text) as Inspected[];
  if (found === undefined) throw new Error(`no image ${image}`);
  const { UpperDir, LowerDir } = found.GraphDriver.Data;
  return {
    lowers: [UpperDir, LowerDir].filter((dir) => dir !== undefined).join(":"),
    entrypoint: found.Config.Entrypoint ?? [],
    cmd: found.Config.Cmd ?? [],
    env: found.Config.Env ?? [],
    workingDir: found.Config.WorkingDir ?? "/",
  };
}

export interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

interface Volume {
  readonly mount: Mount;
  readonly inMemory: boolean;
}

async function makeVolumes(
  bundle: string,
  volumes: readonly PodVolume[],
): Promise<readonly Volume[]> {
  const made: Volume[] = [];
  for (const [i, volume] of volumes.entries()) {
    const source = volume.kind === "host" ? volume.source : join(bundle, "volumes", String(i));
    if (volume.kind !== "host") await mkdir(source);
    if (volume.kind === "empty") await chmod(source, 0o777); // as the kubelet's, whatever the umask
    if (volume.kind === "secret") {
      for (const [name, content] of Object.entries(volume.files)) {
        await writeFile(join(source, name), content, { mode: 0o644 });
      }
    }
    const readOnly = volume.kind === "secret" || (volume.kind === "host" && volume.readOnly);
    made.push({
      mount: {
        destination: volume.path,
        type: "bind",
        source,
        options: ["rbind", "rprivate", ...(readOnly === true ? ["ro"] : [])],
      },
      inMemory: volume.kind === "empty" && volume.medium === "memory",
    });
  }
  return made;
}

async function configOf(
  host: PodHost,
  request: PodRequest,
  image: Image,
  volumes: readonly Mount[],
): Promise<Record<string, unknown>> {
  const { context, command, args } = request;
  const words = [...(command ?? image.entrypoint), ...(args ?? (command ? [] : image.cmd))];
  const env = Object.entries(request.env ?? {}).map(([name, value]) => `${name}=${value}`);
  const capabilities = await capabilitiesOf(context);
  const effective = context.uid === 0 ? capabilities : [];
  const profile = await profileOf(host, context, capabilities);
  const mapping = [{ containerID: 0, hostID: POD_IDS.first, size: POD_IDS.perPod }];
  return {
    ociVersion: "1.0.2",
    hostname: "pod",
    root: { path: "root", readonly: context.readOnlyRoot },
    process: {
      terminal: false,
      user: { uid: context.uid, gid: context.gid },
      args: words,
      env: [...image.env, ...env],
      cwd: request.workingDir ?? image.workingDir,
      noNewPrivileges: context.noNewPrivileges,
      capabilities: { bounding: capabilities, effective, permitted: effective, inheritable: [] },
    },
    mounts: [...systemMounts(context), ...volumes],
    linux: {
      // No network namespace: the Pod has `hostNetwork: true`.
      namespaces: ["pid", "mount", "ipc", "uts", ...(context.ownUsers ? ["user"] : [])].map(
        (type) => ({ type }),
      ),
      ...(context.ownUsers ? { uidMappings: mapping, gidMappings: mapping } : {}),
      ...(context.maskedProc ? { maskedPaths: MASKED, readonlyPaths: READ_ONLY } : {}),
      ...(profile === undefined ? {} : { seccomp: profile }),
    },
  };
}

async function profileOf(
  host: PodHost,
  context: PodContext,
  capabilities: readonly string[],
): Promise<Record<string, unknown> | undefined> {
  const name: SeccompName = context.privileged ? "unconfined" : context.seccomp;
  if (name === "unconfined") return undefined;
  const text = await readFile(join(host.profiles, `${name}.json`), "utf8");
  return seccompFor(JSON.parse(text) as SeccompProfile, capabilities);
}

/** What the process may hold at most, with `CAP_`; for a privileged container all that this process could give away. */
async function capabilitiesOf(context: PodContext): Promise<readonly string[]> {
  if (!context.privileged) return context.capabilities.map((name) => `CAP_${name}`);
  const status = await readFile("/proc/self/status", "utf8");
  const bits = BigInt(`0x${/^CapBnd:\s*(\S+)$/m.exec(status)?.[1] ?? "0"}`);
  return CAPABILITY_NAMES.flatMap((name, bit) =>
    (bits >> BigInt(bit)) & 1n ? [`CAP_${name}`] : [],
  );
}

/** By their numbers in linux/capability.h. */
export const CAPABILITY_NAMES: readonly string[] = `
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID
SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER
SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
CHECKPOINT_RESTORE
`
  .trim()
  .split(/\s+/);

function systemMounts(context: PodContext): readonly Mount[] {
  const quiet = ["nosuid", "noexec", "nodev"];
  const mount = (destination: string, type: string, options: readonly string[]): Mount => ({
    destination,
    type,
    source: type,
    options,
  });
  const proc = mount("/proc", "proc", quiet);
  // sysfs can only be mounted by the owner of the network namespace, and this network is the host's.
  const sys: Mount = {
    destination: "/sys",
    type: "bind",
    source: "/sys",
    options: ["rbind", ...quiet, ...(context.privileged ? [] : ["ro", "rro"])],
  };
  if (context.privileged) {
    return [proc, sys, { ...mount("/dev", "bind", ["rbind", "rw"]), source: "/dev" }];
  }
  const pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
  return [
    proc,
    mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    mount("/dev/pts", "devpts", pts),
    mount("/dev/shm", "tmpfs", [...quiet, "mode=1777", "size=65536k"]),
    mount("/dev/mqueue", "mqueue", quiet),
    sys,
  ];
}

/** The files that the kubelet makes for every container. */
async function makeNetworkFiles(bundle: string): Promise<readonly Mount[]> {
  const mounts: Mount[] = [];
  for (const name of ["resolv.conf", "hosts"]) {
    const source = join(bundle, name);
    await copyFile(`/etc/${name}`, source);
    mounts.push({
      destination: `/etc/${name}`,
      type: "bind",
      source,
      options: ["bind", "rprivate"],
    });
  }
  return mounts;
}
