import type { HostFacts } from "./host-report.js";
import type { NamespacePlan } from "./namespaces.js";

export const SUBORDINATE_IDS =
  "newuidmap and newgidmap (package uidmap) with their file capabilities or set-uid bit, and lines for this user in /etc/subuid and /etc/subgid";

/** What did not work, and where. */
export interface Refusal {
  /** Making the namespaces with their id map, mounting a root in them, mounting an overlay. */
  readonly step: "namespace" | "mount" | "overlay";
  readonly because: string;
  readonly plan: Exclude<NamespacePlan, { kind: "none" }>;
  readonly facts: HostFacts;
}

export interface Cause {
  /** Absent where the refusal says it all. */
  readonly cause?: string;
  readonly allowedBy: string;
  /** A line of a Pod's spec. */
  readonly podSpec?: string;
}

const UNCONFINED_SECCOMP = "securityContext: {seccompProfile: {type: Unconfined}}";
const UNCONFINED_APPARMOR = "securityContext: {appArmorProfile: {type: Unconfined}}";
const VOLUME =
  "volumes: [{name: store, emptyDir: {}}] with volumeMounts: [{name: store, mountPath: /store}] and --store=/store";

/** Who most likely said no: the first that can have been it. `undefined`: nothing here tells. */
export function causeOf(refusal: Refusal): Cause | undefined {
  switch (refusal.step) {
    case "namespace":
      return refusal.plan.kind === "host" ? ofHost() : (ofSysctls(refusal) ?? ofNamespace(refusal));
    case "mount":
      return ofSysctls(refusal) ?? ofModules(refusal) ?? ofSeccomp(refusal);
    case "overlay":
      return ofOverlay(refusal);
    default:
      return undefined;
  }
}

function ofHost(): Cause {
  const cause = "mounting without a user namespace takes CAP_SYS_ADMIN";
  return { cause, allowedBy: "CAP_SYS_ADMIN, or user namespaces" };
}

/** Limits of the machine, which no Pod's spec changes. */
function ofSysctls({ facts }: Refusal): Cause | undefined {
  const { sysctls, capabilities, confinement } = facts;
  const set = (name: string, value: string, cause: string): Cause => ({
    cause,
    allowedBy: `on the node: sysctl -w ${name}=${value}`,
  });
  if (sysctls["user.max_user_namespaces"] === "0") {
    const name = "user.max_user_namespaces";
    return set(name, "65536", `${name} is 0: no user namespaces on this machine`);
  }
  if (capabilities.includes("SYS_ADMIN")) return undefined;
  if (sysctls["kernel.unprivileged_userns_clone"] === "0") {
    const name = "kernel.unprivileged_userns_clone";
    return set(name, "1", `${name} is 0: user namespaces are for CAP_SYS_ADMIN alone`);
  }
  const restriction = "kernel.apparmor_restrict_unprivileged_userns";
  if (sysctls[restriction] === "1" && confinement === "") {
    return set(
      restriction,
      "0",
      `${restriction} is 1: Ubuntu's AppArmor gives a namespace no rights`,
    );
  }
  return undefined;
}

function ofNamespace(refusal: Refusal): Cause | undefined {
  const { because, plan, facts } = refusal;
  if (because.includes("uid_map") || because.includes("id map")) return ofIdMap(plan, facts);
  if (/newuidmap|newgidmap/.test(because)) return ofHelpers(facts);
  return (
    ofModules(refusal) ??
    ofSeccomp(refusal) ?? {
      allowedBy:
        "user namespaces: no seccomp or AppArmor profile that refuses them, and the sysctls user.max_user_namespaces and kernel.unprivileged_userns_clone",
    }
  );
}

function ofIdMap(plan: Refusal["plan"], { capabilities, uid }: HostFacts): Cause {
  const isShifted = plan.kind === "user" && plan.shifted === true;
  const needed = uid === 0 ? ["SETUID", "SETGID", ...(isShifted ? [] : ["SETFCAP"])] : [];
  const missing = needed.filter((name) => !capabilities.includes(name));
  if (missing.length === 0) {
    return { allowedBy: "user namespaces that may map this user's ids" };
  }
  return {
    cause: `without ${missing.map((name) => `CAP_${name}`).join(" and ")} ${isShifted ? "other users cannot" : "uid 0 cannot"} be mapped`,
    allowedBy: missing.map((name) => `CAP_${name}`).join(", "),
    podSpec: `securityContext: {capabilities: {add: [${missing.join(", ")}]}}`,
  };
}

function ofHelpers({ noNewPrivileges }: HostFacts): Cause {
  if (!noNewPrivileges) return { allowedBy: SUBORDINATE_IDS };
  return {
    cause: "under no_new_privs newuidmap has no rights",
    allowedBy: `allowPrivilegeEscalation: true, and ${SUBORDINATE_IDS}`,
    podSpec: "securityContext: {allowPrivilegeEscalation: true}",
  };
}

/** AppArmor's `deny mount` says EACCES where seccomp says EPERM; SELinux says either. */
function ofModules({
  because,
  facts: { confinement, securityModules },
}: Refusal): Cause | undefined {
  if (confinement === "" || !/permission denied|EACCES|not permitted/i.test(because))
    return undefined;
  if (securityModules.includes("selinux") || confinement.split(":").length >= 4) {
    return {
      cause: `SELinux confines this process as ${confinement}`,
      allowedBy: "an SELinux type that may mount",
      podSpec: "securityContext: {seLinuxOptions: {type: container_engine_t}}",
    };
  }
  if (!/permission denied|EACCES/i.test(because)) return undefined;
  return {
    cause: `the AppArmor profile ${confinement} refuses mounts`,
    allowedBy: "no AppArmor profile",
    podSpec: UNCONFINED_APPARMOR,
  };
}

function ofSeccomp({ because, facts: { seccomp } }: Refusal): Cause | undefined {
  if (seccomp !== "filter") return undefined;
  if (!/not permitted|EPERM|not implemented|ENOSYS/i.test(because)) return undefined;
  return {
    cause: "a seccomp profile, as RuntimeDefault, refuses it",
    allowedBy: "no seccomp profile",
    podSpec: UNCONFINED_SECCOMP,
  };
}

function ofOverlay({ facts: { kernel, filesystem } }: Refusal): Cause {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10));
  if (major < 5 || (major === 5 && minor < 11)) {
    return {
      cause: `Linux ${kernel} lets no user namespace mount overlays`,
      allowedBy: "Linux 5.11 or later",
    };
  }
  const volume = { allowedBy: "a store on a volume: in a Pod an emptyDir", podSpec: VOLUME };
  if (filesystem === "overlay") {
    return { cause: "the store lies on the container's own root, an overlay itself", ...volume };
  }
  if (filesystem === "tmpfs" && (major < 6 || (major === 6 && minor < 6))) {
    return {
      cause: `a tmpfs keeps no user attributes before Linux 6.6, this is ${kernel}`,
      ...volume,
    };
  }
  return { cause: `the store lies on ${filesystem}`, ...volume };
}
