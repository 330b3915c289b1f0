import { TsbuildError } from "../errors.js";
import { type Digest, parseDigest } from "./digest.js";

/** The parts of `registry/repository:tag@digest`, as docker's reference grammar normalises them. */
export interface Reference {
  /** Host and port; Docker Hub is `index.docker.io`. */
  readonly registry: string;
  /** Path below the registry; Docker Hub's official images start with `library/`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

export const DOCKER_HUB = "index.docker.io";
const HUB_ALIASES: ReadonlySet<string> = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
]);
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
/** Characters of a repository's path, as docker's grammar bounds it. */
const MAX_REPOSITORY = 255;
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
/** Would be taken for an image's id. */
const LIKE_ID = /^[a-f0-9]{64}$/;
const HOST = new RegExp(`^(?:\\[[0-9a-fA-F:]+\\]|${LABEL}(?:\\.${LABEL})*)(?::[0-9]+)?$`);

function fail(text: string, why: string, cause?: unknown): never {
  throw new TsbuildError("USAGE", `invalid reference format: "${text.slice(0, 400)}": ${why}`, {
    hint: "expected [registry/]repository[:tag][@sha256:digest]",
    cause,
  });
}

function digestIn(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch (error) {
    return fail(text, `"${digest.slice(0, 100)}" is not a sha256 digest`, error);
  }
}

/** The first component is a registry when it could be a host: it has a dot, a port, or is localhost (docker's rule). */
function splitRegistry(name: string): readonly [registry: string, rest: string] {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  return isHost ? [first, name.slice(slash + 1)] : [DOCKER_HUB, name];
}

/** @throws TsbuildError USAGE, with what is wrong named. */
export function parseReference(text: string): Reference {
  if (text === "") fail(text, "it is empty");
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : digestIn(text, text.slice(at + 1));
  let name = at < 0 ? text : text.slice(0, at);
  let tag: string | undefined;
  const colon = name.lastIndexOf(":");
  if (colon > name.lastIndexOf("/")) {
    tag = name.slice(colon + 1);
    name = name.slice(0, colon);
    if (!TAG.test(tag)) fail(text, `"${tag}" is not a tag`);
  }
  if (LIKE_ID.test(text)) fail(text, "a name cannot be 64 hexadecimal digits");
  const [host, path] = splitRegistry(name);
  if (!HOST.test(host)) fail(text, `"${host}" is not a registry host`);
  const registry = HUB_ALIASES.has(host) ? DOCKER_HUB : host;
  const repository = registry === DOCKER_HUB && !path.includes("/") ? `library/${path}` : path;
  if (path !== path.toLowerCase()) fail(text, "repository name must be lowercase");
  if (repository.length > MAX_REPOSITORY) {
    fail(text, `repository name must not be longer than ${MAX_REPOSITORY} characters`);
  }
  for (const component of path.split("/")) {
    if (!COMPONENT.test(component)) fail(text, `"${component}" is not a repository name`);
  }
  return {
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The same reference with `latest` where neither tag nor digest is given. */
export function withDefaultTag(reference: Reference): Reference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { ...reference, tag: "latest" };
}

/** `registry/repository`, without tag and digest. */
export function formatRepository(reference: Reference): string {
  return `${reference.registry}/${reference.repository}`;
}

export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${formatRepository(reference)}${tag}${digest}`;
}

/** The whole name as Docker's tools have it: with a tag, and `docker.io` for the Hub. */
export function dockerName(reference: Reference): string {
  const registry = reference.registry === DOCKER_HUB ? "docker.io" : reference.registry;
  return formatReference({ ...withDefaultTag(reference), registry });
}

/** As people write it: Docker Hub's host and `library/` left out, where what is left still names the same repository. */
export function familiarName(reference: Reference): string {
  const text = formatReference(reference);
  if (reference.registry !== DOCKER_HUB) return text;
  const { repository } = reference;
  const rest = text.slice(DOCKER_HUB.length + 1);
  if (/^library\/[^/]+$/.test(repository)) return rest.slice("library/".length);
  const [registry] = splitRegistry(repository);
  return registry === DOCKER_HUB && repository.includes("/") ? rest : `docker.io/${rest}`;
}
