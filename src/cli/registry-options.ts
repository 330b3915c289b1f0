import type { BuildOptions } from "../index.js";
import type { FlagName } from "./flags.js";
import type { ParsedFlags } from "./parse-flags.js";

type Environment = Readonly<Record<string, string | undefined>>;

type RegistryOption =
  | "insecurePush"
  | "insecurePull"
  | "insecureRegistries"
  | "skipTlsVerify"
  | "skipTlsVerifyRegistries"
  | "registryMap"
  | "skipPushPermissionCheck"
  | "pushRetry"
  | "imageDownloadRetry"
  | "imageFsExtractRetry";

/** The library's options about registries, `undefined` where nothing was said. @throws UsageError */
export function registryOptions(
  flags: ParsedFlags,
  environment: Environment,
): { readonly [K in RegistryOption]: BuildOptions[K] | undefined } {
  const list = (name: FlagName): readonly string[] => flags.many.get(name) ?? [];
  const flag = (name: FlagName): boolean => flags.one.get(name) === "true";
  const number = (name: FlagName): number | undefined => {
    const text = flags.one.get(name);
    return text === undefined ? undefined : Number(text);
  };
  return {
    insecurePush: flag("insecure"),
    insecurePull: flag("insecure-pull"),
    insecureRegistries: list("insecure-registry"),
    skipTlsVerify: flag("skip-tls-verify"),
    skipTlsVerifyRegistries: list("skip-tls-verify-registry"),
    registryMap: registryMap(flags, environment),
    skipPushPermissionCheck: flag("skip-push-permission-check"),
    pushRetry: number("push-retry"),
    imageDownloadRetry: number("image-download-retry"),
    imageFsExtractRetry: number("image-fs-extract-retry"),
  };
}

function registryMap(flags: ParsedFlags, environment: Environment): readonly string[] {
  const { KANIKO_REGISTRY_MIRROR: mirror = "", KANIKO_REGISTRY_MAP: map = "" } = environment;
  const mirrors = [...(flags.many.get("registry-mirror") ?? []), mirror].filter(Boolean);
  const maps = [...(flags.many.get("registry-map") ?? []), map].flatMap((one) => one.split(";"));
  return [
    ...maps.filter(Boolean),
    ...mirrors.map((host) => `index.docker.io=${host.replace(/^https?:\/\//, "")}`),
  ];
}
