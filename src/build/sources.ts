import {
  fetchUrlFile,
  gitBeside,
  openGit,
  parseGitRef,
  parseUrlChecksum,
  resolveGit,
} from "../context/index.js";
import { urlFileName } from "../context/index.js";
import type { GitCheckout, GitCredentials, GitOptions, GitRef } from "../context/index.js";
import type { GitSource, RemoteFile, RemoteSources, UrlFile } from "../context/types.js";
import { type HttpClient, createHttpClient } from "../internal/http.js";
import type { AgentSource } from "../solver/types.js";
import { openStore } from "../store/index.js";
import type { Store } from "../store/types.js";
import { Cleanup } from "./cleanup.js";
import { httpEnvironment } from "./environment.js";
import type { BuildOptions } from "./options.js";
import { secretSource } from "./secrets.js";
import { agentSource, readAgents } from "./ssh/sources.js";
import { gitLogin, httpLogin } from "./source-logins.js";
import { findStorePlace } from "./store-place.js";

/**
 * Everything that a build reads from the network besides images. What is found once is the same for the whole build,
 * whatever a server says later; it is kept in the store for the next one. Nothing is opened before something is asked for.
 */
export class Sources implements RemoteSources, AsyncDisposable {
  readonly #options: BuildOptions;
  readonly #signal: AbortSignal;
  readonly #onFetch: () => void;
  readonly #cleanup = new Cleanup();
  readonly #files = new Map<string, Promise<UrlFile>>();
  readonly #repositories = new Map<string, Promise<GitSource>>();
  #store: Promise<Store> | undefined;
  #http: HttpClient | undefined;
  #agents: Promise<AgentSource> | undefined;

  /** @param onFetch hears that something is about to be asked for */
  constructor(options: BuildOptions, signal: AbortSignal, onFetch: () => void = () => undefined) {
    this.#options = options;
    this.#signal = signal;
    this.#onFetch = onFetch;
  }

  /** A new name in this build's own directory, on the disk that has room. @throws TsbuildError STORE_FAILED */
  async stagingPath(suffix: string): Promise<string> {
    return (await this.#openStore()).stagingPath(suffix);
  }

  /** @throws TsbuildError as `fetchUrlFile` does */
  file(url: string, checksum?: string): Promise<UrlFile> {
    return once(this.#files, JSON.stringify([url, checksum]), () => this.#fetch(url, checksum));
  }

  async resolveFile(
    url: string,
    { checksum }: { readonly checksum?: string },
  ): Promise<RemoteFile> {
    const open = (): Promise<UrlFile> => this.file(url, checksum);
    const digest = checksum === undefined ? (await open()).digest : parseUrlChecksum(checksum);
    return { digest, name: urlFileName(url), open };
  }

  checkUrlChecksum(checksum: string): void {
    parseUrlChecksum(checksum);
  }

  parseGit(word: string): GitRef | undefined {
    return parseGitRef(word);
  }

  resolveGit(
    ref: GitRef,
    options: { readonly keepGitDir?: boolean; readonly checksum?: string },
  ): Promise<GitSource> {
    return once(this.#repositories, JSON.stringify([ref, options]), async () =>
      openGit(ref, { ...options, ...(await this.#gitOptions(ref, undefined)) }),
    );
  }

  /** A git context, into a new directory. @throws TsbuildError as `resolveGit` does */
  async checkOut(
    ref: GitRef,
    directory: string,
    credentials: GitCredentials | undefined,
  ): Promise<GitCheckout> {
    const source = await resolveGit(ref, await this.#gitOptions(ref, credentials));
    return source.checkOut(directory);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup[Symbol.asyncDispose]();
  }

  async #fetch(url: string, checksum: string | undefined): Promise<UrlFile> {
    this.#onFetch();
    const authorization = await httpLogin(url, secretSource(this.#options));
    const { downloads } = await this.#openStore();
    this.#http ??= this.#cleanup.use(
      createHttpClient(httpEnvironment(this.#options.environment ?? {})),
    );
    return fetchUrlFile(url, {
      client: this.#http,
      cache: downloads,
      temporaryPath: () => this.stagingPath("download"),
      ...(checksum === undefined ? {} : { checksum }),
      ...(authorization === undefined ? {} : { authorization }),
      signal: this.#signal,
    });
  }

  /** @param fallback where neither the address nor a secret has a login */
  async #gitOptions(ref: GitRef, fallback: GitCredentials | undefined): Promise<GitOptions> {
    this.#onFetch();
    const { environment = {} } = this.#options;
    const login = (await gitLogin(ref.remote, secretSource(this.#options))) ?? fallback;
    const agent = await this.#agent("default");
    return {
      repositories: await (await this.#openStore()).gitDirectory(),
      environment: agent === undefined ? environment : { ...environment, SSH_AUTH_SOCK: agent },
      ...(login === undefined ? {} : { login }),
      program: gitBeside(),
      signal: this.#signal,
    };
  }

  /** The socket that `--ssh` gives, as steps have it. */
  async #agent(id: string): Promise<string | undefined> {
    const start = async (): Promise<AgentSource> =>
      agentSource(await readAgents(this.#options), await this.#openStore(), this.#cleanup);
    return (await (this.#agents ??= start()))(id);
  }

  #openStore(): Promise<Store> {
    return (this.#store ??= this.#makeStore());
  }

  async #makeStore(): Promise<Store> {
    const { store, environment } = this.#options;
    const { directory } = await findStorePlace(store, environment ?? {});
    return this.#cleanup.use(await openStore(directory, this.#signal));
  }
}

/** The same answer for everybody, and a new try after a failure. */
function once<T>(known: Map<string, Promise<T>>, key: string, work: () => Promise<T>): Promise<T> {
  const found = known.get(key);
  if (found !== undefined) return found;
  const started = work();
  known.set(key, started);
  started.catch(() => known.delete(key));
  return started;
}
