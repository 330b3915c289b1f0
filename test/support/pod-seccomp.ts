/** Turns a container engine's seccomp profile into what a runtime's config.json holds, for one set of capabilities. */

interface Condition {
  readonly arches?: readonly string[];
  readonly caps?: readonly string[];
  readonly minKernel?: string;
}

interface Rule {
  readonly names: readonly string[];
  readonly action: string;
  readonly args?: readonly Readonly<Record<string, unknown>>[] | null;
  readonly errnoRet?: number;
  readonly includes?: Condition | null;
  readonly excludes?: Condition | null;
}

export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly archMap?: readonly {
    readonly architecture: string;
    readonly subArchitectures?: readonly string[] | null;
  }[];
  readonly syscalls: readonly Rule[];
}

const ARCHITECTURES: Readonly<Record<string, readonly [profile: string, seccomp: string]>> = {
  x64: ["amd64", "SCMP_ARCH_X86_64"],
  arm64: ["arm64", "SCMP_ARCH_AARCH64"],
};

/** The rules that apply to this processor and these capabilities (with `CAP_`), as the engines choose them. */
export function seccompFor(
  profile: SeccompProfile,
  capabilities: readonly string[],
): Record<string, unknown> {
  const [arch, seccompArch] = ARCHITECTURES[process.arch] ?? ["", ""];
  const map = profile.archMap?.find((entry) => entry.architecture === seccompArch);
  if (map === undefined) throw new Error(`the profile says nothing about ${process.arch}`);
  const held = new Set(capabilities);
  const applies = ({ includes, excludes }: Rule): boolean =>
    (includes?.arches?.length ? includes.arches.includes(arch) : true) &&
    !(excludes?.arches ?? []).includes(arch) &&
    (includes?.caps ?? []).every((cap) => held.has(cap)) &&
    !(excludes?.caps ?? []).some((cap) => held.has(cap));
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures: [seccompArch, ...(map.subArchitectures ?? [])],
    syscalls: profile.syscalls.filter(applies).map((rule) => ({
      names: rule.names,
      action: rule.action,
      ...(rule.args?.length ? { args: rule.args } : {}),
      ...(rule.errnoRet === undefined ? {} : { errnoRet: rule.errnoRet }),
    })),
  };
}
