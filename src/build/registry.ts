import { DEFAULT_RETRY, type RetryPolicy } from "../internal/retry.js";
import { parseReference, DOCKER_HUB } from "../oci/reference.js";
import { TsbuildError } from "../errors.js";
import { createKeychain, createRegistry } from "../registry/index.js";
import type { Registry, RegistryOptions } from "../registry/types.js";
import { httpEnvironment } from "./environment.js";
import type { BuildOptions } from "./options.js";
import { registryTrust } from "./registry-trust.js";

const USER_AGENT = "tsbuild";

/** The client that the options describe; it opens nothing until it is asked. */
export function openRegistry(options: BuildOptions): Registry {
  return createRegistry(registrySettings(options));
}

/** @throws TsbuildError USAGE */
export function registrySettings(options: BuildOptions): RegistryOptions {
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
    keychain: options.keychain ?? createKeychain({ environment }),
    http: httpEnvironment(environment),
  };
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
