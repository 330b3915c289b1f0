import { DEFAULT_RETRY, type RetryPolicy } from "../internal/retry.js";
import { parseReference, DOCKER_HUB } from "../oci/reference.js";
import { TsbuildError } from "../errors.js";
import { createKeychain, createRegistry, KEYCHAIN_SOURCES } from "../registry/index.js";
import type { Keychain, Registry, RegistryOptions } from "../registry/types.js";
import type { Emit } from "../solver/types.js";
import { httpEnvironment } from "./environment.js";
import type { BuildOptions } from "./options.js";
import { registryTrust } from "./registry-trust.js";

const USER_AGENT = "tsbuild";

/** The client that the options describe; it opens nothing until it is asked. */
export function openRegistry(options: BuildOptions, emit?: Emit): Registry {
  return createRegistry(registrySettings(options, emit));
}

/** @throws TsbuildError USAGE */
export function registrySettings(options: BuildOptions, emit?: Emit): RegistryOptions {
  const environment = options.environment ?? {};
  return {
    insecureRegistries: new Set(options.insecureRegistries),
    insecurePush: options.insecurePush ?? false,
    insecurePull: options.insecurePull ?? false,
    skipTlsVerify: options.skipTlsVerify ?? false,
    skipTlsVerifyPull: options.skipTlsVerifyPull ?? false,
    skipTlsVerifyRegistries: new Set(options.skipTlsVerifyRegistries),
    trust: registryTrust(options),
    registryMap: registryMap(options.registryMap ?? []),
    skipDefaultRegistryFallback: options.skipDefaultRegistryFallback ?? false,
    retryOf: {
      push: furtherTries(options.pushRetry ?? 0, "pushRetry"),
      manifest: furtherTries(options.imageDownloadRetry ?? 0, "imageDownloadRetry"),
      blob: furtherTries(options.imageFsExtractRetry ?? 0, "imageFsExtractRetry"),
    },
    userAgent: USER_AGENT,
    keychain: options.keychain ?? keychainOf(options, emit),
    http: httpEnvironment(environment),
  };
}

/** Where a cloud's helper is named and lacks, that is said: what all of them are asked by default is no wish of anybody's. */
function keychainOf(
  { environment = {}, credentialHelpers: sources }: BuildOptions,
  emit: Emit | undefined,
): Keychain {
  if (sources === undefined) return createKeychain({ environment });
  const unknown = sources.find((name) => !KEYCHAIN_SOURCES.includes(name));
  if (unknown !== undefined) {
    throw new TsbuildError("USAGE", `there is no credential helper "${unknown}"`, {
      hint: `expected ${KEYCHAIN_SOURCES.join(", ")}`,
    });
  }
  const onMissing = (program: string, registry: string): void =>
    emit?.({
      type: "notice",
      message: `${program} is to be asked for a login to ${registry}, and is not installed: add it to the PATH, or log in with a config.json`,
    });
  return createKeychain({ environment, sources, onMissing });
}

/** Nobody waits for more, a minute each. */
const MAX_FURTHER_TRIES = 1000;

/**
 * What differs from the default for what is to be tried `further` times more: never fewer tries than without, and Kaniko's
 * waits of a second that doubles, up to a minute. @throws TsbuildError USAGE
 */
export function furtherTries(further: number, option: string): Partial<RetryPolicy> {
  if (!Number.isSafeInteger(further) || further < 0 || further > MAX_FURTHER_TRIES) {
    throw new TsbuildError("USAGE", `${option} cannot be ${further}`, {
      hint: `expected a whole number from 0 to ${MAX_FURTHER_TRIES}`,
    });
  }
  if (further === 0) return {};
  return {
    attempts: Math.max(DEFAULT_RETRY.attempts, further + 1),
    // Half of a wait is random.
    firstDelayMs: 2_000,
    maxDelayMs: 60_000,
  };
}

/** `from=to[/prefix]`; entries with the same `from` are tried in order. @throws TsbuildError USAGE */
export function registryMap(entries: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const map = new Map<string, readonly string[]>();
  for (const entry of entries) {
    const equals = entry.indexOf("=");
    const from = entry.slice(0, equals);
    const to = entry.slice(equals + 1).replace(/\/$/, "");
    if (equals <= 0 || to === "") {
      throw new TsbuildError("USAGE", `"${entry}" does not map a registry`, {
        hint: "expected host=host[/prefix], for example index.docker.io=mirror.example.com",
      });
    }
    const host = parseReference(`${from}/name`).registry;
    const key = from === "docker.io" ? DOCKER_HUB : host;
    map.set(key, [...(map.get(key) ?? []), to]);
  }
  return map;
}
