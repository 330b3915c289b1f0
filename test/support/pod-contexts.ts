/**
 * The security contexts that Pods are given, as data: what the container runtimes make of a Pod spec, so that a context
 * can be checked against what its processes see, and rendered for `podman kube play` as well as for an OCI runtime.
 */

export type SeccompName = "unconfined" | "runtime-default" | "cri-o" | "podman";

export interface PodContext {
  readonly name: ContextName;
  /** What a user writes in a Pod spec, or has without writing anything. */
  readonly summary: string;
  readonly uid: number;
  readonly gid: number;
  /** The bounding set, without `CAP_`. Effective for root, and for nobody else. */
  readonly capabilities: readonly string[];
  /** `allowPrivilegeEscalation: false`. */
  readonly noNewPrivileges: boolean;
  readonly seccomp: SeccompName;
  /** `procMount: Default`: parts of /proc are covered, which forbids a fresh one in a namespace. */
  readonly maskedProc: boolean;
  /** `hostUsers: false`: ids 0 to 65535 are others outside. */
  readonly ownUsers: boolean;
  readonly readOnlyRoot: boolean;
  readonly privileged: boolean;
  readonly emptyDirs: readonly EmptyDir[];
  /** What `podman kube play` cannot express of it; absent when it can. */
  readonly notByKube?: string;
}

export interface EmptyDir {
  readonly path: string;
  readonly medium: "disk" | "memory";
}

/** containerd's and Docker's. */
export const CONTAINERD_CAPABILITIES: readonly string[] = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
];
/** CRI-O's: no SETFCAP, so that uid 0 cannot be mapped; no MKNOD, no SYS_CHROOT. */
export const CRIO_CAPABILITIES: readonly string[] = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "KILL",
];

const WORKSPACE: EmptyDir = { path: "/workspace", medium: "disk" };

const DEFAULT = {
  uid: 0,
  gid: 0,
  capabilities: CONTAINERD_CAPABILITIES,
  noNewPrivileges: false,
  seccomp: "unconfined",
  maskedProc: true,
  ownUsers: false,
  readOnlyRoot: false,
  privileged: false,
  emptyDirs: [WORKSPACE],
} satisfies Omit<PodContext, "name" | "summary">;

/** Pod Security Standards "restricted", as containerd runs it. */
const RESTRICTED = {
  ...DEFAULT,
  uid: 1000,
  gid: 1000,
  capabilities: [],
  noNewPrivileges: true,
  seccomp: "runtime-default",
} satisfies Omit<PodContext, "name" | "summary">;

const WRITABLE: readonly EmptyDir[] = [
  WORKSPACE,
  { path: "/tmp", medium: "memory" }, // podman covers whatever is mounted there with a tmpfs of its own
  { path: "/cache", medium: "disk" },
];

/** Every context, the most usual first. */
export const POD_CONTEXTS = {
  default: { ...DEFAULT, summary: "nothing set: root, seccomp unconfined" },
  "no-new-privileges": {
    ...DEFAULT,
    noNewPrivileges: true,
    summary: "allowPrivilegeEscalation: false",
  },
  "runtime-default": {
    ...DEFAULT,
    seccomp: "runtime-default",
    summary: "seccompProfile: RuntimeDefault on containerd or Docker",
  },
  "cri-o": { ...DEFAULT, capabilities: CRIO_CAPABILITIES, summary: "nothing set, on CRI-O" },
  "cri-o-runtime-default": {
    ...DEFAULT,
    capabilities: CRIO_CAPABILITIES,
    seccomp: "cri-o",
    summary: "seccompProfile: RuntimeDefault on CRI-O",
  },
  "own-users": { ...DEFAULT, ownUsers: true, summary: "hostUsers: false" },
  "own-users-runtime-default": {
    ...DEFAULT,
    ownUsers: true,
    seccomp: "runtime-default",
    summary: "hostUsers: false and seccompProfile: RuntimeDefault",
  },
  "own-users-unmasked": {
    ...DEFAULT,
    ownUsers: true,
    maskedProc: false,
    summary: "hostUsers: false and procMount: Unmasked",
  },
  restricted: {
    ...RESTRICTED,
    summary:
      "Pod Security Standards restricted: drop ALL, runAsNonRoot, allowPrivilegeEscalation: false, RuntimeDefault",
  },
  "restricted-cri-o": { ...RESTRICTED, seccomp: "cri-o", summary: "restricted, on CRI-O" },
  "restricted-unconfined": {
    ...RESTRICTED,
    seccomp: "unconfined",
    summary: "drop ALL, runAsNonRoot, allowPrivilegeEscalation: false, no seccompProfile",
  },
  "restricted-read-only": {
    ...RESTRICTED,
    readOnlyRoot: true,
    emptyDirs: WRITABLE,
    summary: "restricted and readOnlyRootFilesystem with emptyDirs at /workspace, /tmp and /cache",
  },
  openshift: {
    ...RESTRICTED,
    uid: 1_000_650_000,
    gid: 0,
    seccomp: "cri-o",
    summary: "OpenShift's restricted-v2: an arbitrary uid with group 0, on CRI-O",
  },
  "non-root": {
    ...DEFAULT,
    uid: 1000,
    gid: 1000,
    summary: "runAsUser: 1000 and nothing else, as rootless builders ask for",
    notByKube: "podman gives an ordinary user the added capabilities, Kubernetes does not",
  },
  "read-only": {
    ...DEFAULT,
    readOnlyRoot: true,
    emptyDirs: WRITABLE,
    summary: "readOnlyRootFilesystem with emptyDirs at /workspace, /tmp and /cache",
  },
  "memory-volume": {
    ...DEFAULT,
    emptyDirs: [{ path: "/workspace", medium: "memory" }],
    summary: "nothing set, and a Memory emptyDir at /workspace",
  },
  "no-volume": { ...DEFAULT, emptyDirs: [], summary: "nothing set, and no volume at all" },
  "sys-admin": {
    ...DEFAULT,
    capabilities: [...CONTAINERD_CAPABILITIES, "SYS_ADMIN"],
    seccomp: "runtime-default",
    summary: "capabilities add SYS_ADMIN, RuntimeDefault",
  },
  privileged: {
    ...DEFAULT,
    privileged: true,
    maskedProc: false,
    summary: "privileged: true",
  },
} as const satisfies Readonly<Record<string, Omit<PodContext, "name">>>;

export type ContextName = keyof typeof POD_CONTEXTS;

export const CONTEXT_NAMES: readonly ContextName[] = Object.keys(POD_CONTEXTS) as ContextName[];

/** The context of a name. */
export function podContext(name: ContextName): PodContext {
  return { name, ...POD_CONTEXTS[name] };
}

/** Whether a word names a context. */
export function isContextName(word: string): word is ContextName {
  return Object.hasOwn(POD_CONTEXTS, word);
}
