import type { BuildOptions } from "../index.js";
import type { FlagName } from "./flags.js";
import type { ParsedFlags } from "./parse-flags.js";
import { UsageError } from "./usage-error.js";

type Environment = Readonly<Record<string, string | undefined>>;

type RegistryOption =
  | "insecurePush"
  | "insecurePull"
  | "insecureRegistries"
  | "skipTlsVerify"
  | "skipTlsVerifyPull"
  | "skipTlsVerifyRegistries"
  | "registryCertificates"
  | "registryClientCertificates"
  | "registryMap"
  | "skipDefaultRegistryFallback"
  | "skipPushPermissionCheck"
  | "credentialHelpers"
  | "pushIgnoreImmutableTagErrors"
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
    skipTlsVerifyPull: flag("skip-tls-verify-pull"),
    skipTlsVerifyRegistries: list("skip-tls-verify-registry"),
    registryCertificates: certificates(list("registry-certificate")),
    registryClientCertificates: clientCertificates(list("registry-client-cert")),
    registryMap: registryMap(flags, environment),
    skipDefaultRegistryFallback: flag("skip-default-registry-fallback"),
    skipPushPermissionCheck: flag("skip-push-permission-check"),
    credentialHelpers: credentialHelpers(flags.many.get("credential-helpers")),
    pushIgnoreImmutableTagErrors: flag("push-ignore-immutable-tag-errors"),
    pushRetry: number("push-retry"),
    imageDownloadRetry: number("image-download-retry"),
    imageFsExtractRetry: number("image-fs-extract-retry"),
  };
}

const HELPERS = ["env", "google", "ecr", "acr", "gitlab"] as const;

/** An empty name alone is none of them. */
function credentialHelpers(
  given: readonly string[] | undefined,
): BuildOptions["credentialHelpers"] {
  return given
    ?.filter((name) => name !== "")
    .map((name) => {
      const known = HELPERS.find((one) => one === name);
      if (known !== undefined) return known;
      throw new UsageError(
        `--credential-helpers cannot be "${name}"`,
        `expected one of ${HELPERS.join(", ")}`,
      );
    });
}

/** `host=file`; those of one host come together. */
function certificates(given: readonly string[]): Readonly<Record<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for (const text of given) {
    const [host, file] = hostAnd(text, "registry-certificate", "HOST=FILE");
    found.set(host, [...(found.get(host) ?? []), file]);
  }
  return Object.fromEntries(found);
}

/** `host=certificate,key` */
function clientCertificates(
  given: readonly string[],
): NonNullable<BuildOptions["registryClientCertificates"]> {
  const flag = "registry-client-cert";
  const found = new Map<string, { certificateFile: string; keyFile: string }>();
  for (const text of given) {
    const [host, files] = hostAnd(text, flag, "HOST=CERT,KEY");
    const [certificateFile = "", keyFile = "", ...more] = files.split(",");
    if (certificateFile === "" || keyFile === "" || more.length > 0) {
      throw new UsageError(`--${flag} "${text}" names no two files`, "expected HOST=CERT,KEY");
    }
    if (found.has(host)) throw new UsageError(`--${flag}: there is another one for ${host}`);
    found.set(host, { certificateFile, keyFile });
  }
  return Object.fromEntries(found);
}

function hostAnd(text: string, flag: string, expected: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals > 0 && equals < text.length - 1) {
    return [text.slice(0, equals), text.slice(equals + 1)];
  }
  throw new UsageError(`--${flag} "${text}" names no registry and file`, `expected ${expected}`);
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
