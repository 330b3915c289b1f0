import { parseReference, DOCKER_HUB } from "../oci/reference.js";
import { TsbuildError } from "../errors.js";
import { createKeychain, createRegistry } from "../registry/index.js";
import type { Registry } from "../registry/types.js";
import { httpEnvironment } from "./environment.js";
import type { BuildOptions } from "./options.js";

const USER_AGENT = "tsbuild";

/** The client that the options describe; it opens nothing until it is asked. */
export function openRegistry(options: BuildOptions): Registry {
  const environment = options.environment ?? {};
  return createRegistry({
    insecureRegistries: new Set(options.insecureRegistries),
    insecurePush: options.insecurePush ?? false,
    insecurePull: options.insecurePull ?? false,
    skipTlsVerify: options.skipTlsVerify ?? false,
    skipTlsVerifyRegistries: new Set(options.skipTlsVerifyRegistries),
    registryMap: registryMap(options.registryMap ?? []),
    userAgent: USER_AGENT,
    keychain: options.keychain ?? createKeychain({ environment }),
    http: httpEnvironment(environment),
  });
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
