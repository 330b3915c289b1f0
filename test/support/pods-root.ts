/**
 * A newer Debian than this machine's, for its podman, crun and profiles: `podman kube play` of bookworm neither honours
 * Secrets nor starts without CAP_SYS_RESOURCE. Made once by mmdebstrap and kept in the tests' cache.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { bootstrapSuite } from "./bases-debian.js";
import { cached } from "./bases.js";
import { lacksRoot, lacksTools } from "./tools.js";

const SUITE = "trixie";
const PACKAGES = [
  "podman",
  "crun",
  "runc",
  "netavark",
  "passt",
  "uidmap",
  "catatonit",
  "golang-github-containers-common", // containers.conf and seccomp.json
];
/** Docker's default profile is compiled into its daemon; the package of its sources has it as the file it is made from. */
const DOCKER_SOURCES = "golang-github-docker-docker-dev";
const DOCKER_PROFILE_SOURCE =
  "./usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json";
/** Change it when what the hooks do changes. */
const VERSION = 1;

/** Where the profile that Docker and containerd call their default lies in the newer root. */
export const DOCKER_PROFILE = "/usr/share/tsbuild-pods/seccomp-docker.json";
/** Where the profile that Podman uses, and CRI-O less unshare(2), lies in the newer root. */
export const PODMAN_PROFILE = "/usr/share/containers/seccomp.json";
/** Ids that Pods with user namespaces of their own get: what `hostUsers: false` means. */
export const POD_IDS = { first: 1_000_000, count: 6_553_600, perPod: 65_536 } as const;

/** Why no Pod can run here; `undefined` when it can. */
export function lacksPods(): string | undefined {
  return lacksRoot() ?? lacksTools("mmdebstrap", "unshare", "nsenter", "setpriv", "pivot_root");
}

/** The newer Debian's root directory. Not to be written to: `startPodHost` lays an overlay over it. */
export async function newerDebian(): Promise<string> {
  const key = createHash("sha256")
    .update(JSON.stringify([VERSION, SUITE, PACKAGES]))
    .digest("hex")
    .slice(0, 12);
  const dir = await cached(
    `pods-${SUITE}-${key}`,
    (half) =>
      bootstrapSuite(half, join(half, "root"), {
        suite: SUITE,
        packages: PACKAGES,
        hooks: [takeDockerProfile(), giveIds()],
      }),
    { keepModes: true },
  );
  return join(dir, "root");
}

function takeDockerProfile(): string {
  const inside = `mkdir -p /usr/share/tsbuild-pods /tmp/docker && cd /tmp/docker &&
apt-get download -qq -o APT::Sandbox::User=root ${DOCKER_SOURCES} &&
dpkg-deb --fsys-tarfile ${DOCKER_SOURCES}_*.deb | tar -xO ${DOCKER_PROFILE_SOURCE} >${DOCKER_PROFILE} &&
test -s ${DOCKER_PROFILE} && rm -r /tmp/docker`;
  return `chroot "$1" sh -c '${inside}'`;
}

/** `containers` is the user whose subordinate ids `hostUsers: false` takes. */
function giveIds(): string {
  const line = `containers:${POD_IDS.first}:${POD_IDS.count}`;
  return `chroot "$1" sh -c 'useradd --system containers && echo ${line} >/etc/subuid && echo ${line} >/etc/subgid'`;
}
