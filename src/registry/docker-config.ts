import { TsbuildError } from "../errors.js";
import { DOCKER_HUB } from "../oci/reference.js";
import type { RepositoryName, Secret } from "./types.js";

/** A `config.json` of docker, or an `auth.json` of podman, as far as credentials go. */
export interface DockerConfig {
  /** For messages: the file, or the variable that held the text. */
  readonly place: string;
  /** In the file's order; the keys as they were written. */
  readonly auths: readonly { readonly key: string; readonly secret: Secret | undefined }[];
  readonly credHelpers: readonly { readonly key: string; readonly helper: string }[];
  readonly credsStore: string | undefined;
}

/** The server that credential helpers know Docker Hub by. */
export const HUB_SERVER = "https://index.docker.io/v1/";
const HUB_HOSTS: ReadonlySet<string> = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
  "registry.hub.docker.com",
]);

/** @throws TsbuildError USAGE, without a word of the text */
export function parseDockerConfig(text: string, place: string): DockerConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message would repeat what is around the mistake.
    throw new TsbuildError("USAGE", `tried to read credentials from ${place}: it is not JSON`);
  }
  if (!isObject(value)) {
    throw new TsbuildError("USAGE", `tried to read credentials from ${place}: it is not an object`);
  }
  const store = value["credsStore"];
  return {
    place,
    auths: entriesOf(value["auths"]).map(([key, entry]) => ({
      key,
      secret: readSecret(entry, key, place),
    })),
    credHelpers: entriesOf(value["credHelpers"]).flatMap(([key, helper]) =>
      typeof helper === "string" && helper !== "" ? [{ key, helper }] : [],
    ),
    credsStore: typeof store === "string" && store !== "" ? store : undefined,
  };
}

function entriesOf(value: unknown): readonly (readonly [string, unknown])[] {
  return isObject(value) ? Object.entries(value) : [];
}

function readSecret(entry: unknown, key: string, place: string): Secret | undefined {
  if (!isObject(entry)) return undefined;
  const text = (name: string): string | undefined => {
    const value = entry[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const bearer = text("registrytoken");
  if (bearer !== undefined) return { kind: "bearer", token: bearer };
  const refresh = text("identitytoken");
  if (refresh !== undefined) return { kind: "refresh", token: refresh };
  const auth = text("auth");
  if (auth !== undefined) return decodeAuth(auth, key, place);
  const username = text("username");
  const password = text("password");
  if (username === undefined || password === undefined) return undefined;
  return basicSecret(username, password);
}

function decodeAuth(auth: string, key: string, place: string): Secret {
  const decoded = Buffer.from(auth, "base64").toString();
  const colon = decoded.indexOf(":");
  if (colon <= 0) {
    throw new TsbuildError(
      "USAGE",
      `tried to read credentials from ${place}: "auth" of ${JSON.stringify(key)} is not base64 of user:password`,
    );
  }
  // docker pads the decoded text with NUL bytes in old files.
  return basicSecret(decoded.slice(0, colon), decoded.slice(colon + 1).replace(/\0+$/, ""));
}

/** The user name `<token>` marks a refresh token, by docker's convention. */
export function basicSecret(username: string, password: string): Secret {
  if (username === "<token>") return { kind: "refresh", token: password };
  return { kind: "basic", username, password };
}

/**
 * The names under which a repository's credential may be kept, the most specific first:
 * `host/a/b`, `host/a`, `host` (containers-auth.json(5)).
 */
export function candidateKeys({ registry, repository }: RepositoryName): readonly string[] {
  const parts = repository === "" ? [] : repository.split("/");
  const host = normalizeKey(registry);
  return [...parts.keys(), parts.length]
    .toReversed()
    .map((count) => [host, ...parts.slice(0, count)].join("/"));
}

/** One spelling for all that people and tools write: schemes, `/v1/`, `/v2/`, default ports, Docker Hub's names. */
export function normalizeKey(key: string): string {
  const scheme = /^(https?):\/\//i.exec(key.trim())?.[1]?.toLowerCase();
  const rest = key
    .trim()
    .replace(/^https?:\/\//i, "")
    .replace(/\/+$/, "");
  const slash = rest.indexOf("/");
  const path = slash < 0 ? "" : rest.slice(slash).replace(/^\/v[12]$/, "");
  const port = scheme === "http" ? /:80$/ : /:443$/;
  const host = (slash < 0 ? rest : rest.slice(0, slash)).toLowerCase().replace(port, "");
  return `${HUB_HOSTS.has(host) ? DOCKER_HUB : host}${path}`;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
