// The builders that are measured side by side. Each is one command line for measure.py that builds and pushes, keeps what
// it keeps below `state`, and says what it cannot do.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** What a run may find; see bench/README.md. */
export const TEMPERATURES = ["cold", "warm", "cached", "registry-cache"];
/** Where steps run: root with the base's layers mounted, root with them unpacked, a user with subordinate ids. */
export const WAYS = ["root-mounted", "root-unpacked", "user"];
const NO_REGISTRY_CACHE = TEMPERATURES.filter((name) => name !== "registry-cache");

/**
 * Those of the builders that this machine has, for the ways asked; `skipped` says why others are not among them.
 * Those of one `group` are compared with one another.
 */
export async function findTools(support, { app, user, ways, peers }) {
  const tools = [];
  const skipped = [];
  const asRoot = ways.some((way) => way !== "user");
  for (const tool of [
    ...ways.map((way) => tsbuild(support, app, way, user)),
    ...(asRoot ? [buildah("buildah", "oci"), buildah("buildah-chroot", "chroot")] : []),
    ...(ways.includes("user") ? [buildahAsUser(support, user)] : []),
    ...(asRoot ? [kaniko(support), buildkit(), docker()] : []),
  ]) {
    if (tool.peer && peers !== undefined && !peers.includes(tool.name)) continue;
    const reason = support.lacksTools(...tool.needs) ?? (await tool.lacks?.(support));
    if (reason === undefined) tools.push({ ...tool, version: await version(support, tool) });
    else skipped.push(`${label(tool)}: ${reason}`);
  }
  return { tools, skipped };
}

/** How tables name it. */
export function label(tool) {
  return tool.peer ? tool.name : `${tool.name} ${tool.way}`;
}

async function version(support, tool) {
  const [command, ...args] = tool.versionCommand;
  const { stdout, stderr } = await support.run(command, args);
  return (stdout || stderr).trim().split("\n")[0];
}

function tsbuild(support, { node, dir, help }, way, user) {
  const entry = join(dir, "bin/tsbuild.js");
  const cachesInRegistry = help.includes("--cache-repo");
  const whole = ["--cache-copy-layers", "--cache-run-layers"].filter((flag) => help.includes(flag));
  return {
    name: "tsbuild",
    peer: false,
    way,
    group: way === "user" ? "user" : "root",
    needs: way === "user" ? ["setpriv", "newuidmap"] : ["node"],
    temperatures: cachesInRegistry ? TEMPERATURES : NO_REGISTRY_CACHE,
    versionCommand: [node, entry, "--version"],
    lacks: way === "root-mounted" ? () => lacksMounts(support, node, entry) : undefined,
    command: ({ context, dockerfile, destination, registry, state, noCache, cacheRepo }) => {
      const argv = [
        node,
        entry,
        `--context=${context}`,
        `--dockerfile=${dockerfile}`,
        `--destination=${destination}`,
        `--insecure-registry=${registry}`,
        `--store=${join(state, "store")}`,
        ...(way === "root-unpacked" ? ["--layer-mounts=off"] : []),
        ...(noCache ? ["--no-cache"] : []),
        ...(cacheRepo === undefined ? [] : ["--cache=true", `--cache-repo=${cacheRepo}`, ...whole]),
      ];
      return way === "user" ? underUser(support, user, argv) : argv;
    },
  };
}

async function lacksMounts(support, node, entry) {
  const { stdout } = await support.run(node, [entry, "doctor", "--format=json"]);
  const layers = JSON.parse(stdout).layers;
  return layers?.kind === "mounted" ? undefined : "layers cannot be mounted here: tsbuild doctor";
}

function underUser(support, user, argv, more = {}) {
  const variables = Object.entries({ ...support.userEnvironment(user), ...more });
  return support.asUser(user, ["env", "-i", ...variables.map((pair) => pair.join("=")), ...argv]);
}

/** Root's buildah. What it knows of blobs elsewhere is kept below `state` too, or a cold build would not be cold. */
function buildah(name, isolation) {
  return {
    name,
    peer: true,
    group: "root",
    needs: ["buildah", "unshare", ...(isolation === "oci" ? ["runc"] : [])],
    temperatures: TEMPERATURES,
    versionCommand: ["buildah", "--version"],
    command: (build) => [
      "unshare",
      "--mount",
      "--propagation=private",
      "sh",
      "-euc",
      'mkdir -p "$1" /var/lib/containers && mount --bind "$1" /var/lib/containers && shift && exec "$@"',
      "sh",
      join(build.state, "containers"),
      "sh",
      join(here, "peers/buildah.sh"),
      ...buildahWords(build, ["--isolation", isolation, "--runtime", "runc"]),
    ],
  };
}

function buildahAsUser(support, user) {
  return {
    name: "buildah-chroot",
    peer: true,
    group: "user",
    needs: ["buildah", "setpriv", "newuidmap"],
    temperatures: TEMPERATURES,
    versionCommand: ["buildah", "--version"],
    command: (build) => {
      const argv = ["sh", join(here, "peers/buildah.sh")];
      const words = buildahWords(build, ["--isolation", "chroot"]);
      return underUser(support, user, [...argv, ...words], { HOME: build.state });
    },
  };
}

function buildahWords(build, flags) {
  const { state, context, dockerfile, destination, noCache, cacheRepo } = build;
  return [
    join(state, "storage"),
    destination,
    "--layers",
    "--network",
    "host",
    "--file",
    dockerfile,
    ...flags,
    ...(noCache ? ["--no-cache"] : []),
    ...(cacheRepo === undefined ? [] : ["--cache-from", cacheRepo, "--cache-to", cacheRepo]),
    context,
  ];
}

/** Kaniko's executor, in a root of its own: it replaces what is in "/". */
function kaniko(support) {
  const executor = process.env["KANIKO_EXECUTOR"] ?? support.findTool("executor");
  return {
    name: "kaniko",
    peer: true,
    group: "root",
    needs: ["unshare", "busybox", "mountpoint"],
    lacks: () =>
      executor !== undefined && existsSync(executor)
        ? undefined
        : "no executor on PATH, and none named by KANIKO_EXECUTOR",
    temperatures: ["cold", "registry-cache"],
    versionCommand: [executor ?? "executor", "version"],
    command: ({ context, dockerfile, destination, registry, state, cacheRepo }) => [
      "unshare",
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      "--propagation=private",
      "sh",
      join(here, "peers/kaniko.sh"),
      executor,
      join(state, "root"),
      context,
      dockerfile,
      "--force",
      "--context=dir:///workspace",
      "--dockerfile=/kaniko/Dockerfile",
      `--destination=${destination}`,
      `--insecure-registry=${registry}`,
      "--insecure",
      "--insecure-pull",
      ...(cacheRepo === undefined
        ? []
        : ["--cache", "--cache-copy-layers", `--cache-repo=${cacheRepo}`]),
    ],
  };
}

/** buildctl with a buildkitd of its own, which is started and stopped within the measurement. */
function buildkit() {
  return {
    name: "buildkit",
    peer: true,
    group: "root",
    needs: ["buildctl", "buildkitd", "runc"],
    temperatures: TEMPERATURES,
    versionCommand: ["buildctl", "--version"],
    command: ({ context, dockerfile, destination, registry, state, noCache, cacheRepo }) => [
      "sh",
      join(here, "peers/buildkit.sh"),
      join(state, "buildkit"),
      registry,
      "build",
      "--frontend=dockerfile.v0",
      "--progress=plain",
      `--local=context=${context}`,
      `--local=dockerfile=${dirname(dockerfile)}`,
      `--output=type=image,name=${destination},push=true`,
      ...(noCache ? ["--no-cache"] : []),
      ...(cacheRepo === undefined
        ? []
        : [
            `--export-cache=type=registry,mode=max,ref=${cacheRepo}:cache`,
            `--import-cache=type=registry,ref=${cacheRepo}:cache`,
          ]),
    ],
  };
}

/** The daemon's state is not ours to empty, so there is no cold build; its processes are not in the figures. */
function docker() {
  return {
    name: "docker",
    peer: true,
    group: "root",
    needs: ["docker"],
    temperatures: ["warm", "cached"],
    versionCommand: ["docker", "--version"],
    lacks: async (support) => {
      const { code } = await support.run("docker", ["buildx", "inspect"], { timeoutMs: 10_000 });
      return code === 0 ? undefined : "no daemon answers";
    },
    command: ({ context, dockerfile, destination, noCache }) => [
      "docker",
      "buildx",
      "build",
      "--push",
      "--network=host",
      `--file=${dockerfile}`,
      `--tag=${destination}`,
      ...(noCache ? ["--no-cache"] : []),
      context,
    ],
  };
}

/** The end of a log, for a message. */
export function tail(path) {
  return existsSync(path) ? readFileSync(path, "utf8").slice(-800) : "";
}
