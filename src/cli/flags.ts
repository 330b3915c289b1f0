import { IN_PLACE_FLAGS } from "./flags-in-place.js";

/**
 * Every flag of Kaniko's executor and our own, as data: parsing, the help text and the refusals all read this table.
 */
export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  /** `list` may be repeated; `pairs` is a list of `name=value`; `flag` needs no value. */
  readonly type: "string" | "number" | "list" | "pairs" | "flag";
  /** Other spellings that Kaniko accepts. */
  readonly aliases?: readonly string[];
  readonly choices?: readonly string[];
  /** What the value is called in the help. */
  readonly value?: string;
  readonly help: string;
  readonly group: "Build" | "Output" | "Registry" | "Environment" | "Container" | "Messages";
}

export const FLAGS = [
  {
    name: "dockerfile",
    short: "f",
    type: "string",
    value: "PATH",
    group: "Build",
    help: "the Dockerfile; looked up as given, then below the context (default Dockerfile)",
  },
  {
    name: "context",
    short: "c",
    type: "string",
    value: "DIR|URL|-",
    group: "Build",
    help: "what COPY and ADD read: a directory, a git repository, tar://FILE, https://…, - for a tar on stdin (default /workspace)",
  },
  {
    name: "context-sub-path",
    type: "string",
    value: "PATH",
    group: "Build",
    help: "a directory of the context that takes its place",
  },
  {
    name: "build-arg",
    type: "pairs",
    value: "NAME[=VALUE]",
    group: "Build",
    help: "sets an ARG; without a value the environment's is taken",
  },
  {
    name: "target",
    type: "string",
    value: "STAGE",
    group: "Build",
    help: "the stage to build (default the last)",
  },
  {
    name: "label",
    type: "pairs",
    value: "NAME=VALUE",
    group: "Build",
    help: "adds a label to the image",
  },
  {
    name: "custom-platform",
    type: "string",
    aliases: ["platform", "customPlatform"],
    value: "OS/ARCH",
    group: "Build",
    help: "the platform to build for (default this machine's)",
  },
  {
    name: "secret",
    type: "list",
    value: "id=ID[,src=FILE|env=NAME]",
    group: "Build",
    help: "a secret for RUN --mount=type=secret",
  },
  {
    name: "ssh",
    type: "list",
    value: "ID[=SOCKET|KEYFILE,…]",
    group: "Build",
    help: "an ssh agent, or private keys, for RUN --mount=type=ssh (default $SSH_AUTH_SOCK)",
  },
  {
    name: "allow",
    type: "list",
    value: "RIGHT",
    group: "Build",
    help: "lets a RUN ask for network.host, security.insecure, device or device=NAME[,alias=ALIAS]",
  },
  {
    name: "cdi-spec-dir",
    type: "list",
    value: "DIR",
    group: "Build",
    help: "where CDI files describe devices, as JSON (default /etc/cdi and /var/run/cdi)",
  },
  {
    name: "network",
    type: "string",
    choices: ["default", "none", "host"],
    group: "Build",
    help: "the network of a RUN that names none (default the host's)",
  },
  {
    name: "add-host",
    type: "list",
    value: "NAME:ADDRESS",
    group: "Build",
    help: "a line of a step's /etc/hosts; may be repeated",
  },
  {
    name: "hostname",
    type: "string",
    value: "NAME",
    group: "Build",
    help: "what a step calls its machine (default buildkitsandbox)",
  },
  {
    name: "shm-size",
    type: "string",
    value: "SIZE",
    group: "Build",
    help: "the size of a step's /dev/shm: 64m, 1g (default 64m)",
  },
  {
    name: "ulimit",
    type: "list",
    value: "NAME=SOFT[:HARD]",
    group: "Build",
    help: "a limit of a step's processes: nofile=1024:2048; -1 is none; may be repeated",
  },
  {
    name: "build-context",
    type: "list",
    value: "NAME=DIR|URL|docker-image://REF|oci-layout://DIR",
    group: "Build",
    help: "a further context, for FROM, COPY --from and --mount=from",
  },
  {
    name: "reproducible",
    type: "flag",
    group: "Build",
    help: "times in the image become SOURCE_DATE_EPOCH, or 0",
  },
  {
    name: "destination",
    short: "d",
    type: "list",
    value: "REF",
    group: "Output",
    help: "where to push; may be repeated",
  },
  {
    name: "no-push",
    type: "flag",
    group: "Output",
    help: "build only; destinations then only name the image",
  },
  {
    name: "tar-path",
    type: "string",
    aliases: ["tarPath"],
    value: "FILE",
    group: "Output",
    help: "writes an archive that docker load reads",
  },
  {
    name: "oci-layout-path",
    type: "string",
    value: "DIR",
    group: "Output",
    help: "writes an OCI image layout",
  },
  {
    name: "output",
    short: "o",
    type: "list",
    value: "DIR|-|type=TYPE,…",
    group: "Output",
    help: "writes the files (type=local|tar,dest=) or the image (type=oci|docker,dest=), or pushes it (type=registry,name=)",
  },
  {
    name: "annotation",
    type: "list",
    value: "[CARRIER:]NAME=VALUE",
    group: "Output",
    help: "annotates the manifest, or with index: or manifest[linux/amd64]: before the name what that says",
  },
  {
    name: "iidfile",
    type: "string",
    value: "FILE",
    group: "Output",
    help: "writes the image's id, the digest of its config",
  },
  {
    name: "metadata-file",
    type: "string",
    value: "FILE",
    group: "Output",
    help: "writes what was made, as buildx's JSON",
  },
  {
    name: "digest-file",
    type: "string",
    value: "FILE",
    group: "Output",
    help: "writes the image's digest, when everything else is done",
  },
  {
    name: "image-name-with-digest-file",
    type: "string",
    value: "FILE",
    group: "Output",
    help: "writes repository@digest, a line for each destination",
  },
  {
    name: "image-name-tag-with-digest-file",
    type: "string",
    value: "FILE",
    group: "Output",
    help: "writes repository:tag@digest, a line for each destination",
  },
  {
    name: "single-snapshot",
    type: "flag",
    group: "Output",
    help: "puts everything that is new into one layer",
  },
  {
    name: "compression",
    type: "string",
    choices: ["gzip", "zstd"],
    group: "Output",
    help: "how new layers are compressed (default gzip)",
  },
  {
    name: "compression-level",
    type: "number",
    value: "N",
    group: "Output",
    help: "the compressor's level (default its own)",
  },
  {
    name: "image-format",
    type: "string",
    choices: ["oci", "docker"],
    group: "Output",
    help: "the image's media types (default the base's)",
  },
  { name: "insecure", type: "flag", group: "Registry", help: "push over plain HTTP" },
  { name: "insecure-pull", type: "flag", group: "Registry", help: "pull over plain HTTP" },
  {
    name: "insecure-registry",
    type: "list",
    value: "HOST",
    group: "Registry",
    help: "use plain HTTP with this registry; may be repeated",
  },
  { name: "skip-tls-verify", type: "flag", group: "Registry", help: "do not verify certificates" },
  {
    name: "skip-tls-verify-registry",
    type: "list",
    value: "HOST",
    group: "Registry",
    help: "do not verify this registry's certificate",
  },
  {
    name: "registry-mirror",
    type: "list",
    value: "HOST[/PATH]",
    group: "Registry",
    help: "a mirror of Docker Hub for pulls",
  },
  {
    name: "registry-map",
    type: "list",
    value: "FROM=TO",
    group: "Registry",
    help: "pulls from TO what names FROM; several separated by ;",
  },
  {
    name: "skip-push-permission-check",
    type: "flag",
    group: "Registry",
    help: "do not ask before the build whether the push will be allowed",
  },
  {
    name: "store",
    type: "string",
    value: "DIR",
    group: "Environment",
    help: "where blobs and layers are kept between builds (default ~/.cache/tsbuild)",
  },
  {
    name: "driver",
    type: "string",
    choices: [
      "auto",
      "overlay",
      "plain",
      "single-id-overlay",
      "single-id-plain",
      "in-place",
      "proot",
    ],
    group: "Environment",
    help: "how steps are isolated (default the best that works here)",
  },
  ...IN_PLACE_FLAGS,
  {
    name: "verbosity",
    short: "v",
    type: "string",
    choices: ["trace", "debug", "info", "warn", "error", "fatal", "panic"],
    group: "Messages",
    help: "how much is said (default info)",
  },
  {
    name: "log-format",
    type: "string",
    choices: ["text", "color", "json"],
    group: "Messages",
    help: "default color on a terminal, else text",
  },
  {
    name: "format",
    type: "string",
    choices: ["text", "json"],
    group: "Messages",
    help: "how tsbuild check and doctor print what they found (default text)",
  },
  { name: "help", short: "h", type: "flag", group: "Messages", help: "prints this" },
  { name: "version", type: "flag", group: "Messages", help: "prints the version" },
] as const satisfies readonly FlagSpec[];

export type FlagName = (typeof FLAGS)[number]["name"];

/** Kaniko's flags that change nothing here, with why: said once, at info level. */
export const WITHOUT_MEANING: ReadonlyMap<string, string> = new Map([
  ["snapshot-mode", "changes are found exactly in every mode"],
  ["snapshotMode", "changes are found exactly in every mode"],
  ["use-new-run", "changes are found exactly in every mode"],
  ["compressed-caching", "layers are never kept in memory"],
  ["skip-unused-stages", "stages that the target does not need are never built"],
  ["force-build-metadata", "metadata is always in the image"],
]);

/** Kaniko's flags that take no value in {@link WITHOUT_MEANING}. */
export const MEANINGLESS_SWITCHES: ReadonlySet<string> = new Set([
  "use-new-run",
  "compressed-caching",
  "skip-unused-stages",
  "force-build-metadata",
]);

const LIMIT_ITSELF =
  "a step shares its limits with tsbuild: run it as systemd-run --user --scope -p MemoryMax=2G -p CPUQuota=50% tsbuild …, or give its container or Pod the limit";

/** Flags of docker build and buildctl that need a daemon with control groups of its own, with what to do instead. */
export const UNSUPPORTED: ReadonlyMap<string, string> = new Map(
  [
    "cgroup-parent",
    "cpu-period",
    "cpu-quota",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "memory",
    "memory-swap",
  ].map((name) => [name, LIMIT_ITSELF]),
);

/** Kaniko's flags that are refused by name: each would change the result or the rights, and does not work yet. */
export const NOT_YET: ReadonlySet<string> = new Set([
  "bucket",
  "cache",
  "cache-copy-layers",
  "cache-dir",
  "cache-repo",
  "cache-run-layers",
  "cache-ttl",
  "credential-helpers",
  "dryrun",
  "git",
  "image-download-retry",
  "image-fs-extract-retry",
  "log-timestamp",
  "no-push-cache",
  "push-ignore-immutable-tag-errors",
  "push-retry",
  "registry-certificate",
  "registry-client-cert",
  "skip-default-registry-fallback",
  "skip-tls-verify-pull",
]);
