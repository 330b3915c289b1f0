/**
 * The machine that Pods run on: the newer Debian in a mount and a pid namespace of its own. When it stops, or when the
 * test process dies, the kernel ends everything in it and its mounts go along; what remains is one directory, removed.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DOCKER_PROFILE, newerDebian, PODMAN_PROFILE, POD_IDS } from "./pods-root.js";
import { stopChild } from "./services.js";
import {
  eventually,
  findTool,
  mustRun,
  run,
  tempDir,
  type Outcome,
  type RunOptions,
} from "./tools.js";

export interface PodHost extends AsyncDisposable {
  /** A directory of this host, at the same path outside and inside. */
  readonly dir: string;
  /** Where the profiles are that a Pod names as `localhost/<file>`. */
  readonly profiles: string;
  /** The words that run `argv` inside. */
  argv(argv: readonly string[]): readonly [string, ...string[]];
  /** Runs a program inside to its end. */
  run(argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs a program inside that has to succeed, and answers what it printed. */
  mustRun(argv: readonly string[], options?: RunOptions): Promise<string>;
}

export interface PodHostOptions {
  /** Further directories or files that are seen inside under the same path, read-only. */
  readonly share?: readonly string[];
  /** The same, writable: what Pods mount by hostPath. */
  readonly writable?: readonly string[];
  /** A directory of images that podman reads besides its own; see `imageStore`. */
  readonly imageStore?: string;
}

const ENVIRONMENT = [
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  "HOME=/root",
  "LANG=C.UTF-8",
  "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
];
const CGROUPS = "/sys/fs/cgroup";

/** crun refuses the hybrid hierarchy, hence the last unmount. catatonit holds the namespaces and reaps orphans. */
const HOLDER = `set -eu
root=$DIR/root
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$DIR/upper,workdir=$DIR/work" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root$DIR" "$root/var/lib/containers" "$root/.old"
mount --bind "$DIR" "$root$DIR"
mount --bind "$DIR/containers" "$root/var/lib/containers"
share() {
  if [ -d "$1" ]; then mkdir -p "$root$1"; else
    mkdir -p "$root\${1%/*}"
    : >"$root$1"
  fi
  mount --rbind "$1" "$root$1"
}
printf '%s' "$SHARE" | while read -r path; do
  share "$path"
  mount -o remount,bind,ro "$root$path"
done
printf '%s' "$WRITABLE" | while read -r path; do share "$path"; done
cat /etc/resolv.conf >"$root/etc/resolv.conf"
cat /etc/hosts >"$root/etc/hosts"
cd "$root"
pivot_root . .old
umount -l /.old
if [ -e ${CGROUPS}/unified/cgroup.procs ]; then umount ${CGROUPS}/unified; fi
: >"$DIR/ready"
exec /usr/bin/catatonit -P
`;

/** Starts the host. Root only: see `lacksPods`. */
export async function startPodHost(options: PodHostOptions = {}): Promise<PodHost> {
  const lower = await newerDebian();
  const temp = await tempDir("tsbuild-pods-");
  let holder: ChildProcess | undefined;
  try {
    await chmod(temp.path, 0o711); // runc reaches its bundle with the ids of the Pod
    await fillIn(temp.path, lower, options);
    holder = spawnHolder(temp.path, lower, options);
    const init = await untilReady(holder, temp.path);
    return describeHost(temp.path, holder, init);
  } catch (error) {
    if (holder !== undefined) await stopChild(holder);
    await temp[Symbol.asyncDispose]();
    throw error;
  }
}

async function fillIn(dir: string, lower: string, options: PodHostOptions): Promise<void> {
  const etc = join(dir, "upper/etc/containers");
  const profiles = join(dir, "profiles");
  const folders = ["work", "root", "containers", "run"].map((name) => join(dir, name));
  await Promise.all([...folders, etc, profiles].map((path) => mkdir(path, { recursive: true })));
  await writeFile(join(etc, "storage.conf"), storageConfig(options.imageStore));
  await writeFile(join(etc, "containers.conf"), CONTAINERS_CONFIG);
  for (const [name, text] of await profileTexts(lower)) {
    await writeFile(join(profiles, `${name}.json`), text);
  }
}

/** Without cgroups: podman would leave some of them behind on cgroup v1, and take seconds to remove the others. */
const CONTAINERS_CONFIG = `[containers]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

function storageConfig(imageStore: string | undefined): string {
  const stores = imageStore === undefined ? "" : JSON.stringify(imageStore);
  return `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
[storage.options]
additionalimagestores = [${stores}]
root-auto-userns-user = "containers"
auto-userns-min-size = ${POD_IDS.perPod}
auto-userns-max-size = ${POD_IDS.perPod}
`;
}

/** The default profiles of the container engines: Docker's and containerd's, Podman's, CRI-O's. */
async function profileTexts(lower: string): Promise<readonly (readonly [string, string])[]> {
  const docker = await readFile(join(lower, DOCKER_PROFILE), "utf8");
  const podman = await readFile(join(lower, PODMAN_PROFILE), "utf8");
  return [
    ["runtime-default", docker],
    ["podman", podman],
    ["cri-o", withoutUnshare(podman)],
  ];
}

interface Profile {
  readonly syscalls: readonly { readonly names: readonly string[] }[];
}

/** CRI-O takes the profile of containers-common and removes unshare(2) from it, and nothing else. */
function withoutUnshare(text: string): string {
  const profile = JSON.parse(text) as Profile;
  const syscalls = profile.syscalls.map((rule) => ({
    ...rule,
    names: rule.names.filter((name) => name !== "unshare"),
  }));
  return JSON.stringify({ ...profile, syscalls });
}

function spawnHolder(dir: string, lower: string, options: PodHostOptions): ChildProcess {
  const lines = (paths: readonly string[] = []): string =>
    paths.map((path) => `${path}\n`).join("");
  const unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"];
  const namespaces = [...unshare, "--propagation", "private"];
  // The parent's death takes the holder along, and with it everything inside.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", ...namespaces, "bash", "-c", HOLDER], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      PATH: process.env["PATH"],
      DIR: dir,
      LOWER: lower,
      SHARE: lines(options.share),
      WRITABLE: lines(options.writable),
    },
  });
  return child;
}

/** Waits for the namespaces, and answers the pid of their first process as this process sees it. */
async function untilReady(holder: ChildProcess, dir: string): Promise<number> {
  let complaint = "";
  holder.stderr?.on("data", (chunk: Buffer) => (complaint += chunk.toString("utf8")));
  return eventually("the Pods' host", async () => {
    if (holder.exitCode !== null || holder.signalCode !== null) {
      throw new Error(`the Pods' host ended: ${complaint}`);
    }
    if (!existsSync(join(dir, "ready"))) return undefined;
    const children = await readFile(`/proc/${holder.pid}/task/${holder.pid}/children`, "utf8");
    const pid = Number(children.trim());
    return pid > 0 ? pid : undefined;
  });
}

function describeHost(dir: string, holder: ChildProcess, init: number): PodHost {
  const nsenter = findTool("nsenter") ?? "nsenter";
  const argv = (words: readonly string[]): readonly [string, ...string[]] => [
    nsenter,
    "--target",
    String(init),
    "--mount",
    "--pid",
    "--",
    // nsenter forks: without this a killed one would leave its program behind, with our pipes.
    "setpriv",
    "--pdeathsig",
    "KILL",
    "env",
    "-i",
    ...ENVIRONMENT,
    ...words,
  ];
  return {
    dir,
    profiles: join(dir, "profiles"),
    argv,
    run(words, options): Promise<Outcome> {
      const [command, ...args] = argv(words);
      return run(command, args, options);
    },
    mustRun(words, options): Promise<string> {
      const [command, ...args] = argv(words);
      return mustRun(command, args, options);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await stopChild(holder);
      // The first process of a pid namespace is gone when all the others are.
      await eventually("the Pods to end", () => (existsSync(`/proc/${init}`) ? undefined : true));
      await rm(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
