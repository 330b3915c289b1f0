import { isIP } from "node:net";
import type { HttpTrust } from "../internal/http.js";
import { DOCKER_HUB, type Reference } from "../oci/reference.js";
import type { RegistryOptions, RepositoryName } from "./types.js";

/** Where a repository is spoken to: the registry itself, or a mirror of it. */
export interface Endpoint {
  /** As credentials, flags and messages name it. */
  readonly registry: string;
  /** Path below the registry, a mirror's prefix included. */
  readonly repository: string;
  /** `host[:port]` that connections go to. */
  readonly host: string;
  /** Whether plain HTTP may be spoken when the host does not speak TLS. */
  readonly plainAllowed: boolean;
  readonly trust: HttpTrust;
}

const HUB_NAMES = [DOCKER_HUB, "docker.io", "registry-1.docker.io"];
const HUB_HOST = "registry-1.docker.io";

/** Where a push goes: never to a mirror. */
export function pushEndpoint(options: RegistryOptions, name: RepositoryName): Endpoint {
  return endpointOf(options, name.registry, name.repository, "push");
}

/** Where a pull may go, in the order in which to try: the mirrors of the registry, then the registry. */
export function pullEndpoints(
  options: RegistryOptions,
  reference: Reference,
): readonly [Endpoint, ...Endpoint[]] {
  const { registry, repository } = reference;
  const mirrors = aliases(registry)
    .flatMap((name) => options.registryMap.get(name) ?? [])
    .map((mirror) => {
      const [host = "", ...prefix] = mirror
        .replace(/^https?:\/\//, "")
        .replace(/\/+$/, "")
        .split("/");
      const path = [...prefix, repository].join("/");
      return endpointOf(options, canonical(host), path, "pull");
    });
  const own = endpointOf(options, registry, repository, "pull");
  const [first, ...rest] = mirrors;
  if (first === undefined) return [own];
  return options.skipDefaultRegistryFallback === true ? [first, ...rest] : [first, ...rest, own];
}

function endpointOf(
  options: RegistryOptions,
  registry: string,
  repository: string,
  direction: "push" | "pull",
): Endpoint {
  const isPull = direction === "pull";
  const names = aliases(registry);
  const named = (set: ReadonlySet<string>): boolean => names.some((name) => set.has(name));
  return {
    registry,
    repository,
    host: registry === DOCKER_HUB ? HUB_HOST : registry,
    plainAllowed:
      (isPull ? options.insecurePull : options.insecurePush) ||
      named(options.insecureRegistries) ||
      isLocal(registry),
    trust: {
      skipVerify:
        options.skipTlsVerify ||
        (isPull && options.skipTlsVerifyPull === true) ||
        named(options.skipTlsVerifyRegistries),
      ...trustOf(options, registry),
    },
  };
}

/** What was said of a registry, or of another host that it sends us to. */
export function trustOf(
  { trust }: Pick<RegistryOptions, "trust">,
  registry: string,
): Pick<HttpTrust, "certificateFiles" | "client"> | undefined {
  return aliases(registry)
    .map((name) => trust?.get(name))
    .find((found) => found !== undefined);
}

function aliases(registry: string): readonly string[] {
  return registry === DOCKER_HUB ? HUB_NAMES : [registry];
}

function canonical(registry: string): string {
  return HUB_NAMES.includes(registry) ? DOCKER_HUB : registry;
}

/** Hosts that go-containerregistry (and so kaniko) speaks plain HTTP to without a flag: loopback, RFC 1918, `.local`. */
function isLocal(registry: string): boolean {
  const host = registry
    .replace(/:\d+$/, "")
    .replace(/^\[|\]$/g, "")
    .toLowerCase();
  if (host === "localhost" || host === "::1" || host.endsWith(".local")) return true;
  if (isIP(host) !== 4) return false;
  return /^(?:127\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)/.test(host);
}
