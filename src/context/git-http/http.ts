import { networkFault, networkMessage } from "../../internal/http-errors.js";
import { basicAuthorization } from "../../internal/http-redirect.js";
import type { HttpClient, HttpRequest, HttpResponse } from "../../internal/http.js";
import { redactUrl } from "../../internal/redact.js";
import type { GitAccess } from "../git-access.js";

/** Why git gets nothing, in a line that holds no secret. */
export class GitHttpError extends Error {
  override readonly name: string = "GitHttpError";
}

/** Of a client what git's transport needs. */
export type GitClient = Pick<HttpClient, "request" | "certificateProblems">;

export interface GitHttpOptions {
  /** As git has it; may have a user and a password. */
  readonly url: string;
  readonly client: GitClient;
  readonly access: GitAccess | undefined;
  readonly signal: AbortSignal;
}

interface Login {
  readonly origin: string;
  readonly authorization: string;
  /** A password is kept until it is asked for; a header is sent at once. */
  readonly isHeader: boolean;
}

/** Servers that have pages for people too go by the first word. */
const USER_AGENT = "git/2.0 (tsbuild)";

/** One repository's address: who may read it, and where it has moved to. */
export class GitHttp {
  readonly #client: GitClient;
  readonly #signal: AbortSignal;
  readonly #logins: readonly Login[];
  readonly #follow: boolean;
  #base: string;
  /** Origins that asked for a login. */
  readonly #asked = new Set<string>();

  constructor({ url, client, access, signal }: GitHttpOptions) {
    const parsed = new URL(url);
    this.#logins = [...loginOf(parsed), ...loginFrom(access)];
    parsed.username = "";
    parsed.password = "";
    this.#base = parsed.href.replace(/\/+$/, "");
    this.#client = client;
    this.#signal = signal;
    // What is in a header may be good for more than this repository: as with git itself, it does not move.
    this.#follow = !this.#logins.some(({ isHeader }) => isHeader);
  }

  /** The address, for messages. */
  get shown(): string {
    return `${redactUrl(this.#base)}/`;
  }

  /**
   * Asks for the refs. Where that leads to another place, the repository is there from now on.
   * @throws GitHttpError
   */
  async discover(headers: Readonly<Record<string, string>>): Promise<HttpResponse> {
    const tail = "/info/refs?service=git-upload-pack";
    const response = await this.#send(tail, { method: "GET", headers });
    if (response.status === 404) {
      throw await this.#refuse(response, `repository '${this.shown}' not found`);
    }
    await this.#expect(response, 200);
    const { href } = response.url;
    if (!href.endsWith(tail)) {
      const why = `the server redirects to ${redactUrl(href)}`;
      throw await this.#refuse(response, `unable to access '${this.shown}': ${why}`);
    }
    this.#base = href.slice(0, -tail.length);
    return response;
  }

  /** A file of the repository; `undefined` where there is none. @throws GitHttpError */
  async file(path: string): Promise<HttpResponse | undefined> {
    const response = await this.#send(`/${path}`, { method: "GET" });
    if (response.status !== 404) return this.#expect(response, 200);
    await response.discard();
    return undefined;
  }

  /** Has the server do what a request says. @throws GitHttpError */
  async post(body: Uint8Array, headers: Readonly<Record<string, string>>): Promise<HttpResponse> {
    const type = "application/x-git-upload-pack";
    const response = await this.#send("/git-upload-pack", {
      method: "POST",
      body,
      headers: { ...headers, "content-type": `${type}-request`, accept: `${type}-result` },
    });
    return this.#expect(response, 200);
  }

  /** What to throw for what happened while an answer was read. */
  failure(error: unknown): unknown {
    if (error instanceof GitHttpError || this.#signal.aborted) return error;
    return new GitHttpError(`unable to access '${this.shown}': ${networkMessage(error)}`, {
      cause: error,
    });
  }

  async #send(path: string, request: Omit<HttpRequest, "signal">): Promise<HttpResponse> {
    for (let url = new URL(this.#base + path); ;) {
      const login = this.#loginFor(url);
      const response = await this.#request(url, request, login);
      if (response.status !== 401) return response;
      await response.discard();
      const { origin } = response.url;
      const isRefused = login !== undefined && origin === url.origin;
      if (isRefused) throw new GitHttpError(`Authentication failed for '${this.shown}'`);
      if (this.#asked.has(origin) || !this.#logins.some((each) => each.origin === origin)) {
        throw new GitHttpError(`could not read Username for '${origin}': no login was given`);
      }
      this.#asked.add(origin);
      url = response.url;
    }
  }

  async #request(
    url: URL,
    request: Omit<HttpRequest, "signal">,
    login: Login | undefined,
  ): Promise<HttpResponse> {
    const authorization = login === undefined ? {} : { authorization: login.authorization };
    try {
      return await this.#client.request(url, {
        ...request,
        headers: { "user-agent": USER_AGENT, ...request.headers, ...authorization },
        redirect: request.method === "GET" && this.#follow ? "follow" : "manual",
        signal: this.#signal,
      });
    } catch (error) {
      const problems =
        networkFault(error) === "certificate" ? await this.#client.certificateProblems() : [];
      const failure = this.failure(error);
      if (!(failure instanceof GitHttpError) || problems.length === 0) throw failure;
      throw new GitHttpError(`${failure.message} (${problems.join("; ")})`, { cause: error });
    }
  }

  #loginFor({ origin }: URL): Login | undefined {
    const found = this.#logins.find((login) => login.origin === origin);
    return found?.isHeader === true || this.#asked.has(origin) ? found : undefined;
  }

  async #expect(response: HttpResponse, status: number): Promise<HttpResponse> {
    if (response.status === status) return response;
    const why = `the server answered with error: ${response.status}`;
    throw await this.#refuse(response, `unable to access '${this.shown}': ${why}`);
  }

  async #refuse(response: HttpResponse, why: string): Promise<GitHttpError> {
    await response.discard();
    return new GitHttpError(why);
  }
}

function loginOf({ origin, username, password }: URL): readonly Login[] {
  if (username === "") return [];
  return [{ origin, authorization: basicAuthorization(username, password), isHeader: false }];
}

function loginFrom(access: GitAccess | undefined): readonly Login[] {
  if (access === undefined) return [];
  const { origin } = new URL(access.origin);
  if ("header" in access) return [{ origin, authorization: access.header, isHeader: true }];
  const { username, password } = access.credentials;
  const encoded = Buffer.from(`${username}:${password}`).toString("base64");
  return [{ origin, authorization: `Basic ${encoded}`, isHeader: false }];
}
