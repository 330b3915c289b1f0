import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, TsbuildError } from "../errors.js";
import { DOCKER_HUB } from "../oci/reference.js";
import { coalesce } from "./coalesce.js";
import { askHelper, NOT_INSTALLED } from "./credential-helper.js";
import {
  basicSecret,
  candidateKeys,
  type DockerConfig,
  HUB_SERVER,
  normalizeKey,
  parseDockerConfig,
} from "./docker-config.js";
import type { Credential, Keychain, RepositoryName } from "./types.js";

export interface KeychainOptions {
  /**
   * Read from it: DOCKER_AUTH_CONFIG, DOCKER_CONFIG, HOME, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME,
   * KANIKO_<HOST>_USER and _PASSWORD, CI_REGISTRY, CI_REGISTRY_USER and _PASSWORD, CI_JOB_TOKEN. Credential helpers get all
   * of it.
   */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Sources besides the configuration files, in the order in which they are asked. Default: all. */
  readonly sources?: readonly KeychainSource[];
  /** Hears, once for each, of a cloud's helper that would be asked and is not installed. */
  readonly onMissing?: (program: string, registry: string) => void;
  /** Milliseconds that a credential helper may take. */
  readonly helperTimeoutMs?: number;
}

export type KeychainSource = "env" | "google" | "ecr" | "acr" | "gitlab";

export const KEYCHAIN_SOURCES: readonly KeychainSource[] = [
  "env",
  "google",
  "ecr",
  "acr",
  "gitlab",
];

const HELPER_TIMEOUT_MS = 30_000;

/** Clouds whose helper is asked without configuration, where it is installed. */
const CLOUDS: Readonly<Partial<Record<KeychainSource, { hosts: RegExp; helper: string }>>> = {
  google: { hosts: /^(?:(?:.+\.)?gcr\.io|.+\.pkg\.dev|.+\.google\.com)$/, helper: "gcr" },
  ecr: {
    hosts:
      /^(?:\d{12}\.dkr[.-]ecr(?:-fips)?\..+\.(?:amazonaws\.com(?:\.cn)?|on\.aws)|public\.ecr\.aws)$/,
    helper: "ecr-login",
  },
  acr: { hosts: /^(?:.+\.azurecr\.(?:io|cn|de|us)|mcr\.microsoft\.com)$/, helper: "acr-env" },
};

/**
 * Finds credentials as docker, podman and kaniko do: DOCKER_AUTH_CONFIG, docker's config.json, podman's auth.json, then
 * the environment and the clouds' helpers. The first that knows the repository wins. Files are read at the first call.
 */
export function createKeychain(options: KeychainOptions): Keychain {
  const chain = new Chain(options);
  return Object.assign(
    (repository: RepositoryName, signal: AbortSignal) => chain.find(repository, signal),
    { lookedIn: (repository: RepositoryName) => chain.lookedIn(repository) },
  );
}

class Chain {
  readonly #options: KeychainOptions;
  readonly #configs = new Map<string, Promise<readonly DockerConfig[]>>();
  readonly #helpers = new Map<string, Promise<Credential | undefined>>();
  /** Places without an answer: of the files, and of each repository. */
  readonly #places: string[] = [];
  readonly #notes = new Map<string, readonly string[]>();
  readonly #missing = new Set<string>();

  constructor(options: KeychainOptions) {
    this.#options = options;
  }

  lookedIn(repository: RepositoryName): readonly string[] {
    return [...this.#places, ...(this.#notes.get(keyOf(repository)) ?? [])];
  }

  async find(repository: RepositoryName, signal: AbortSignal): Promise<Credential | undefined> {
    const notes: string[] = [];
    this.#notes.set(keyOf(repository), notes);
    const configs = await coalesce(this.#configs, "", signal, () => this.#readConfigs(signal));
    for (const config of configs) {
      const found = await this.#fromConfig(config, repository, notes, signal);
      if (found !== undefined) return found;
      notes.push(`${config.place} (no entry for it)`);
    }
    for (const source of this.#options.sources ?? KEYCHAIN_SOURCES) {
      const found = await this.#fromSource(source, repository.registry, notes, signal);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async #fromConfig(
    config: DockerConfig,
    repository: RepositoryName,
    notes: string[],
    signal: AbortSignal,
  ): Promise<Credential | undefined> {
    const keys = candidateKeys(repository);
    for (const [index, wanted] of keys.entries()) {
      const isHost = index === keys.length - 1;
      const named = config.credHelpers.find(({ key }) => normalizeKey(key) === wanted);
      const helper = named?.helper ?? (isHost ? config.credsStore : undefined);
      if (helper !== undefined) {
        const role =
          named === undefined ? "credsStore" : `credHelpers[${JSON.stringify(named.key)}]`;
        const source = `docker-credential-${helper} (${role} in ${config.place})`;
        const found = await this.#ask(helper, serverName(wanted), source, notes, signal);
        if (found !== undefined) return found;
      }
      for (const { key, secret } of config.auths) {
        if (secret === undefined || normalizeKey(key) !== wanted) continue;
        return { secret, source: `auths[${JSON.stringify(key)}] in ${config.place}` };
      }
    }
    return undefined;
  }

  async #fromSource(
    source: KeychainSource,
    registry: string,
    notes: string[],
    signal: AbortSignal,
  ): Promise<Credential | undefined> {
    const { environment } = this.#options;
    if (source === "env") return fromEnvironment(environment, registry);
    if (source === "gitlab") return fromGitlab(environment, registry);
    const cloud = CLOUDS[source];
    if (cloud === undefined || !cloud.hosts.test(registry)) return undefined;
    const name = `docker-credential-${cloud.helper}`;
    const before = notes.length;
    const found = await this.#ask(cloud.helper, registry, name, notes, signal);
    const isMissing = notes.slice(before).some((note) => note.endsWith(NOT_INSTALLED));
    if (found === undefined && isMissing && !this.#missing.has(name)) {
      this.#missing.add(name);
      this.#options.onMissing?.(name, registry);
    }
    return found;
  }

  /** Several repositories of one registry need one answer; a helper that fails is noted, and the next place asked. */
  async #ask(
    helper: string,
    server: string,
    source: string,
    notes: string[],
    signal: AbortSignal,
  ): Promise<Credential | undefined> {
    const key = JSON.stringify([helper, server]);
    const found = await coalesce(this.#helpers, key, signal, async () => {
      try {
        const answer = await askHelper(helper, server, {
          environment: this.#options.environment,
          timeoutMs: this.#options.helperTimeoutMs ?? HELPER_TIMEOUT_MS,
          signal,
        });
        if (answer.kind === "failed") notes.push(`${source}: ${answer.reason}`);
        return answer.kind === "found" ? { secret: answer.secret, source } : undefined;
      } finally {
        // What helpers hand out is short-lived: it is not kept here.
        this.#helpers.delete(key);
      }
    });
    if (found === undefined && notes.every((note) => !note.startsWith(source))) {
      notes.push(`${source} (knows none)`);
    }
    return found;
  }

  async #readConfigs(signal: AbortSignal): Promise<readonly DockerConfig[]> {
    const { environment } = this.#options;
    const configs: DockerConfig[] = [];
    this.#places.length = 0;
    const text = environment["DOCKER_AUTH_CONFIG"];
    if (text !== undefined && text.trim() !== "") {
      configs.push(parseDockerConfig(text, "DOCKER_AUTH_CONFIG"));
    }
    for (const file of await configFiles(environment)) {
      const found = await readIfThere(file, signal);
      if ("lacking" in found) this.#places.push(`${file.path} (${found.lacking})`);
      else configs.push(parseDockerConfig(found.content, file.path));
    }
    return configs;
  }
}

function keyOf({ registry, repository }: RepositoryName): string {
  return `${registry}/${repository}`;
}

/** As credential helpers are asked for it. */
function serverName(key: string): string {
  return key === DOCKER_HUB ? HUB_SERVER : key;
}

/** Where a login may be. */
interface ConfigFile {
  readonly path: string;
  /** By a variable that means this file: it has to be readable if it is there. */
  readonly named: boolean;
}

/** DOCKER_CONFIG takes the place of `$HOME/.docker`, and may be the file itself. */
async function configFiles(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<readonly ConfigFile[]> {
  const value = (name: string): string | undefined => {
    const text = environment[name];
    return text === undefined || text === "" ? undefined : text;
  };
  const home = value("HOME");
  const files: ConfigFile[] = [];
  const add = (path: string, named: boolean): void => {
    if (files.every((file) => file.path !== path)) files.push({ path, named });
  };
  const docker = value("DOCKER_CONFIG");
  if (docker !== undefined)
    add((await isFile(docker)) ? docker : join(docker, "config.json"), true);
  else if (home !== undefined) add(join(home, ".docker/config.json"), false);
  const named = value("REGISTRY_AUTH_FILE");
  if (named !== undefined) add(named, true);
  const runtime = value("XDG_RUNTIME_DIR");
  if (runtime !== undefined) add(join(runtime, "containers/auth.json"), false);
  const config =
    value("XDG_CONFIG_HOME") ?? (home === undefined ? undefined : join(home, ".config"));
  if (config !== undefined) add(join(config, "containers/auth.json"), false);
  return files;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function readIfThere(
  { path, named }: ConfigFile,
  signal: AbortSignal,
): Promise<{ readonly content: string } | { readonly lacking: string }> {
  try {
    return { content: await readFile(path, { encoding: "utf8", signal }) };
  } catch (error) {
    signal.throwIfAborted();
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return { lacking: "not there" };
    // Nobody pointed at it: a Pod's user often has another one's home as HOME.
    if (!named && (code === "EACCES" || code === "EPERM")) return { lacking: "not readable" };
    throw new TsbuildError(
      "USAGE",
      `tried to read credentials from ${path}: it cannot be read (${code ?? "unknown reason"})`,
      {
        hint: "give this user the right to read it, or point DOCKER_CONFIG elsewhere",
        cause: error,
      },
    );
  }
}

/** kaniko's variables: the host in capitals, its leading labels dropped one after the other. */
function fromEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  registry: string,
): Credential | undefined {
  const labels = registry.toUpperCase().replaceAll("-", "_").replaceAll(":", "_").split(".");
  for (const index of labels.keys()) {
    const name = `KANIKO_${labels.slice(index).join("_")}`;
    const username = environment[`${name}_USER`];
    const password = environment[`${name}_PASSWORD`];
    if (username === undefined || password === undefined) continue;
    return { secret: basicSecret(username, password), source: `${name}_USER and ${name}_PASSWORD` };
  }
  return undefined;
}

function fromGitlab(
  environment: Readonly<Record<string, string | undefined>>,
  registry: string,
): Credential | undefined {
  const host = environment["CI_REGISTRY"];
  const username = environment["CI_REGISTRY_USER"];
  const password = environment["CI_REGISTRY_PASSWORD"];
  const token = environment["CI_JOB_TOKEN"] ?? "";
  if (host === undefined || normalizeKey(host) !== normalizeKey(registry)) return undefined;
  if (username !== undefined && password !== undefined) {
    return {
      secret: basicSecret(username, password),
      source: "CI_REGISTRY_USER and CI_REGISTRY_PASSWORD",
    };
  }
  // What these two are made from, where a job does not pass them on.
  if (token === "") return undefined;
  return { secret: basicSecret("gitlab-ci-token", token), source: "CI_JOB_TOKEN" };
}
