import { TsbuildError } from "../errors.js";
import { type HttpBody, SourceError } from "../internal/http-body.js";
import { networkFault } from "../internal/http-errors.js";
import type { HttpClient, HttpRequest, HttpResponse } from "../internal/http.js";
import {
  isTransientStatus,
  parseRetryAfter,
  retry,
  type RetryPolicy,
  TransientError,
} from "../internal/retry.js";
import type { Authenticator, Authorization } from "./auth.js";
import type { Scope } from "./challenge.js";
import { coalesce } from "./coalesce.js";
import type { Endpoint } from "./endpoint.js";
import { networkError, statusError, withBodyRead } from "./errors.js";

export interface RegistryRequest {
  /** For "tried to X". */
  readonly what: string;
  readonly endpoint: Endpoint;
  readonly method: HttpRequest["method"];
  /** Below `/v2/<repository>/`, or a whole URL that the registry gave. */
  readonly target: string | URL;
  readonly scopes: readonly Scope[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: HttpBody;
  readonly onSent?: (bytes: number) => void;
  /** Statuses of 300 and more that the caller deals with itself. */
  readonly accept?: readonly number[];
  readonly signal: AbortSignal;
}

/** A host that answers neither in TLS nor with an error within this time is asked in plain HTTP, where allowed. */
const PROBE_MS = 5_000;
const NO_AUTHORIZATION: Authorization = { header: undefined, credential: undefined };

/** What may be another answer for somebody who logs in. Some registries hide what is private. */
function isRefusal({ status }: HttpResponse): boolean {
  return status === 401 || status === 403 || status === 404;
}

/** Sends requests to registries: scheme, authorisation, retries and errors. */
export class Transport {
  readonly http: HttpClient;
  readonly policy: RetryPolicy;
  readonly #authenticator: Authenticator;
  readonly #userAgent: string;
  readonly #bases: Map<string, Promise<URL>>;

  constructor(
    http: HttpClient,
    authenticator: Authenticator,
    policy: RetryPolicy,
    userAgent: string,
    bases: Map<string, Promise<URL>> = new Map(),
  ) {
    this.http = http;
    this.policy = policy;
    this.#authenticator = authenticator;
    this.#userAgent = userAgent;
    this.#bases = bases;
  }

  /** The same, with what is known of the hosts, but that it tries more or less often. */
  withPolicy(policy: RetryPolicy): Transport {
    return new Transport(this.http, this.#authenticator, policy, this.#userAgent, this.#bases);
  }

  /** Tried again while that can help. @throws TsbuildError, or the signal's reason */
  async send(request: RegistryRequest, policy: RetryPolicy = this.policy): Promise<HttpResponse> {
    try {
      return await retry(policy, request.signal, () => this.attempt(request));
    } catch (error) {
      throw await this.explain(request, error);
    }
  }

  /** One try. @throws TransientError or a network's error where another may help, else TsbuildError */
  async attempt(request: RegistryRequest): Promise<HttpResponse> {
    const { endpoint, signal } = request;
    const base = await this.#base(endpoint, signal);
    const url =
      typeof request.target === "string"
        ? new URL(`/v2/${endpoint.repository}/${request.target}`, base)
        : request.target;
    const isOwn = url.origin === base.origin;
    let authorization = isOwn ? await this.#authorize(request, base) : NO_AUTHORIZATION;
    let response = await this.#request(url, request, authorization);
    if (isOwn && response.url.origin === base.origin && isRefusal(response)) {
      response = await withBodyRead(response);
      const better = await this.#better(request, base, response, authorization);
      if (better !== undefined) {
        authorization = better;
        response = await this.#request(url, request, authorization);
      }
    }
    if (response.status < 300 || request.accept?.includes(response.status)) return response;
    throw await this.#statusError(request, response, authorization);
  }

  /** What to tell people about an error of `attempt`. */
  async explain(request: RegistryRequest, error: unknown): Promise<unknown> {
    if (request.signal.aborted) return request.signal.reason;
    if (error instanceof TransientError && error.cause instanceof TsbuildError) return error.cause;
    if (error instanceof TsbuildError) return error;
    if (error instanceof SourceError) {
      if (error.cause instanceof TsbuildError) return error.cause;
      return new TsbuildError("STORE_FAILED", `tried to ${request.what}: ${error.message}`, {
        cause: error,
      });
    }
    return networkError(request, error, await this.http.certificateProblems());
  }

  /** The URL that an answer's Location names; `undefined` when it names none. */
  location(response: HttpResponse): URL | undefined {
    const text = response.header("location");
    if (text === undefined || !URL.canParse(text, response.url.href)) return undefined;
    const url = new URL(text, response.url);
    const here = response.url;
    // A registry behind a proxy that ends TLS often does not know of it, and names itself in plain HTTP.
    if (here.protocol === "https:" && url.protocol === "http:" && url.hostname === here.hostname) {
      const port = url.port === "" ? here.port : url.port;
      url.protocol = "https:";
      url.port = port;
    }
    return url;
  }

  #authorize(request: RegistryRequest, base: URL): Promise<Authorization> {
    const isSecure = base.protocol === "https:";
    return this.#authenticator.authorization(
      request.endpoint,
      isSecure,
      request.scopes,
      request.signal,
    );
  }

  /** After a refusal: an authorisation that was not tried yet, if there is one. */
  async #better(
    request: RegistryRequest,
    base: URL,
    response: HttpResponse,
    tried: Authorization,
  ): Promise<Authorization | undefined> {
    const { endpoint, signal } = request;
    if (response.status === 401) {
      const header = response.header("www-authenticate");
      if (!this.#authenticator.learn(endpoint, header, tried)) return undefined;
    } else {
      if (tried.header !== undefined || tried.credential === undefined) return undefined;
      if (this.#authenticator.hasChallenge(endpoint)) return undefined;
      if (!(await this.#ping(endpoint, base, signal))) return undefined;
    }
    const next = await this.#authorize(request, base);
    return next.header === undefined || next.header === tried.header ? undefined : next;
  }

  async #ping(endpoint: Endpoint, base: URL, signal: AbortSignal): Promise<boolean> {
    const response = await this.http.request(new URL("/v2/", base), {
      method: "GET",
      headers: { "user-agent": this.#userAgent },
      trust: endpoint.trust,
      redirect: "manual",
      signal,
    });
    await response.discard();
    if (response.status !== 401) return false;
    const header = response.header("www-authenticate");
    return this.#authenticator.learn(endpoint, header, NO_AUTHORIZATION);
  }

  #request(
    url: URL,
    request: RegistryRequest,
    authorization: Authorization,
  ): Promise<HttpResponse> {
    const { header } = authorization;
    const { client: _, ...trust } = request.endpoint.trust;
    // Our own certificate is for the registry, not for a host that it names.
    const isOwn = url.host === request.endpoint.host;
    return this.http.request(url, {
      method: request.method,
      headers: {
        "user-agent": this.#userAgent,
        ...request.headers,
        ...(header === undefined ? {} : { authorization: header }),
      },
      trust: isOwn ? request.endpoint.trust : trust,
      signal: request.signal,
      ...(request.body === undefined ? {} : { body: request.body }),
      ...(request.onSent === undefined ? {} : { onSent: request.onSent }),
    });
  }

  async #statusError(
    request: RegistryRequest,
    response: HttpResponse,
    authorization: Authorization,
  ): Promise<Error> {
    const { what, endpoint } = request;
    const described = this.#authenticator.describe(endpoint, authorization);
    const error = await statusError({ what, endpoint, authorization: described }, response);
    if (!isTransientStatus(response.status)) return error;
    const retryAfterMs = parseRetryAfter(response.header("retry-after"), Date.now());
    return new TransientError(error.message, {
      cause: error,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }

  /** TLS, unless the host may be spoken to in plain HTTP and does not answer in TLS. Found out once. */
  async #base(endpoint: Endpoint, signal: AbortSignal): Promise<URL> {
    const secure = new URL(`https://${endpoint.host}`);
    if (!endpoint.plainAllowed) return secure;
    return coalesce(this.#bases, endpoint.host, signal, async () => {
      let isTls: true | undefined;
      try {
        const soon = AbortSignal.any([signal, AbortSignal.timeout(PROBE_MS)]);
        // Mostly nobody speaks TLS there: then this is quick, and the rest of what TLS takes is not even loaded.
        isTls = await this.http.shakeHands(secure, endpoint.trust, soon);
        await this.#ping(endpoint, secure, soon);
        return secure;
      } catch (error) {
        signal.throwIfAborted();
        const fault = networkFault(error);
        // It does speak TLS; the request itself will say what is wrong with its certificate, or with ours.
        if (fault === "certificate" || fault === "client-certificate") return secure;
        // Without a port in its name, plain HTTP is another port, and another server maybe.
        if (isTls === true && /:\d+$/.test(endpoint.host)) return secure;
        const plain = new URL(`http://${endpoint.host}`);
        // Something answered, and not in TLS: nothing more is learnt by asking.
        if (fault !== "tls") await this.#ping(endpoint, plain, signal);
        return plain;
      }
    });
  }
}
