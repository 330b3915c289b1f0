import type { Dispatcher } from "undici";
import type { Readable } from "node:stream";
import type { SecureContext } from "node:tls";
import { type HttpBody, lengthOf, StallTimer, uploadBody } from "./http-body.js";
import {
  type CertificatePlaces,
  type Certificates,
  loadCertificates,
  readClient,
  trustNobody,
  trustStore,
} from "./http-certificates.js";
import { ProxyError, proxyErrorOf } from "./http-errors.js";
import { shakeHands } from "./http-handshake.js";
import { isRedirect, redirected, redirectTarget } from "./http-redirect.js";
import { SocketTurns } from "./http-sockets.js";
import { chooseProxy, type ProxyChooser, proxyAuthorization, type ProxySettings } from "./proxy.js";
import { redactUrl } from "./redact.js";

/** What the environment says about the network; the command line reads it, nothing below does. */
export interface HttpEnvironment extends ProxySettings, CertificatePlaces {}

/** How a server proves who it is, and we to it. */
export interface HttpTrust {
  /** Any certificate will do. */
  readonly skipVerify?: boolean;
  /** PEM files of authorities, in addition to all others. */
  readonly certificateFiles?: readonly string[];
  /** PEM files. Never used for another host that the server redirects to. */
  readonly client?: { readonly certificateFile: string; readonly keyFile: string };
}

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: HttpBody;
  readonly trust?: HttpTrust;
  /** "follow" (the default) drops `authorization` and `cookie` on the way to another origin (http-redirect.ts). */
  readonly redirect?: "follow" | "manual";
  /** Called with the bytes of the body as they go out. */
  readonly onSent?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** The one that answered, after redirects. */
  readonly url: URL;
  /** By its name in lower case; several of one name joined by ", ". */
  header(name: string): string | undefined;
  /** Can be read once, by one of these; leaving the loop early closes the connection. */
  readonly body: AsyncIterable<Uint8Array>;
  /** The whole body. @throws Error when it is longer than `limit` bytes */
  bytes(limit: number): Promise<Uint8Array>;
  /** Reads a short rest, so that the connection can serve again, or closes it. */
  discard(): Promise<void>;
}

export interface HttpClient extends AsyncDisposable {
  /** Resolves once the headers are there, whatever the status. Never retries. @throws what the network gave */
  request(url: URL, request: HttpRequest): Promise<HttpResponse>;
  /** Whether the server speaks TLS: behind a proxy nobody can tell, and it is `undefined`. @throws what the network gave */
  shakeHands(url: URL, trust: HttpTrust, signal: AbortSignal): Promise<true | undefined>;
  /** Certificates that were named but could not be used, for the message of a failed verification. */
  certificateProblems(): Promise<readonly string[]>;
}

export interface HttpTimeouts {
  /** Milliseconds until a connection stands. */
  readonly connectMs: number;
  /** Milliseconds until the answer begins, once the request is out. A registry checks a whole blob in this time. */
  readonly answerMs: number;
  /** Milliseconds without a byte in either direction while a body is under way. */
  readonly stallMs: number;
}

export const DEFAULT_TIMEOUTS: HttpTimeouts = {
  connectMs: 15_000,
  answerMs: 300_000,
  stallMs: 60_000,
};

/** Longer than the gap between two instructions, shorter than what servers keep open. */
const KEEP_ALIVE_MS = 15_000;
const MAX_REDIRECTS = 10;
/** Bytes of an unread body that are worth reading to keep the connection. */
const MAX_DISCARD = 64 * 1024;
/** Node's 250 ms per address fail on slow links where several addresses are tried. */
const ADDRESS_ATTEMPT_MS = 1_000;

/** One client for all hosts: a pool of kept connections per origin, proxy and trust. Nothing is opened or read yet. */
export function createHttpClient(
  environment: HttpEnvironment,
  timeouts: Partial<HttpTimeouts> = {},
): HttpClient {
  return new PooledClient(environment, { ...DEFAULT_TIMEOUTS, ...timeouts });
}

class PooledClient implements HttpClient {
  readonly #environment: HttpEnvironment;
  readonly #timeouts: HttpTimeouts;
  readonly #dispatchers = new Map<string, Promise<Dispatcher>>();
  readonly #turns = new SocketTurns();
  #proxies: ProxyChooser | undefined;
  #certificates: Promise<Certificates> | undefined;
  #closed = false;

  constructor(environment: HttpEnvironment, timeouts: HttpTimeouts) {
    this.#environment = environment;
    this.#timeouts = timeouts;
  }

  async request(url: URL, request: HttpRequest): Promise<HttpResponse> {
    let target = url;
    let current = request;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#once(target, current);
      if (request.redirect === "manual" || !isRedirect(response, current)) return response;
      await response.discard();
      const next = redirectTarget(response);
      if (redirects === MAX_REDIRECTS) {
        throw new Error(`more than ${MAX_REDIRECTS} redirects, the last to ${redactUrl(next)}`);
      }
      current = redirected(current, target, next);
      target = next;
      target.username = "";
      target.password = "";
    }
  }

  async shakeHands(url: URL, trust: HttpTrust, signal: AbortSignal): Promise<true | undefined> {
    if (this.#proxy(url) !== undefined) return undefined;
    this.#turns.ask(url.host);
    const client = trust.client && (await readClient(trust.client));
    return shakeHands(url, { client, attemptMs: ADDRESS_ATTEMPT_MS, signal });
  }

  async certificateProblems(): Promise<readonly string[]> {
    return (await this.#loadCertificates()).problems;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.allSettled(dispatchers.map(async (dispatcher) => (await dispatcher).destroy()));
  }

  async #once(url: URL, request: HttpRequest): Promise<HttpResponse> {
    request.signal.throwIfAborted();
    const dispatcher = await this.#dispatcher(url, request.trust ?? {});
    const isSending = request.body !== undefined && !(request.body instanceof Uint8Array);
    const turn = await this.#turns.take(url.origin, isSending, request.signal);
    const guard = new Guard(request.signal, this.#timeouts, turn);
    try {
      guard.timer.arm(this.#timeouts.answerMs, "no answer came");
      const data = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: request.method,
        headers: { ...request.headers, ...lengthOf(request) },
        body: guard.body(request),
        headersTimeout: 0,
        bodyTimeout: 0,
        // The library would close the connection after each HEAD, for servers that send a body with it.
        reset: false,
        signal: guard.signal,
      });
      if (data.statusCode === 407) {
        await data.body.dump();
        throw new ProxyError("the proxy asks for a credential (407)");
      }
      const isHead = request.method === "HEAD";
      return new UndiciResponse(url, data, guard, isHead, this.#timeouts.stallMs);
    } catch (error) {
      guard.end();
      throw proxyErrorOf(guard.reason(error));
    }
  }

  #dispatcher(url: URL, trust: HttpTrust): Promise<Dispatcher> {
    if (this.#closed) throw new Error("the HTTP client is closed");
    const proxy = this.#proxy(url);
    const isSecure = url.protocol === "https:";
    const key = JSON.stringify([proxy?.href, isSecure ? trust : "plain"]);
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const made = this.#connectTo(proxy, isSecure ? trust : undefined);
    this.#dispatchers.set(key, made);
    made.catch(() => this.#dispatchers.delete(key));
    return made;
  }

  #proxy(url: URL): URL | undefined {
    this.#proxies ??= chooseProxy(this.#environment);
    return this.#proxies(url);
  }

  async #connectTo(proxy: URL | undefined, trust: HttpTrust | undefined): Promise<Dispatcher> {
    const { Agent, ProxyAgent } = await import("undici");
    const connect = {
      timeout: this.#timeouts.connectMs,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MS,
    };
    const server =
      trust === undefined
        ? connect
        : {
            ...connect,
            rejectUnauthorized: trust.skipVerify !== true,
            secureContext: await this.#trustStore(trust),
          };
    const pool = { keepAliveTimeout: KEEP_ALIVE_MS };
    if (proxy === undefined) return new Agent({ ...pool, connect: server });
    const token = proxyAuthorization(proxy);
    const proxyTls =
      proxy.protocol === "https:"
        ? { ...connect, secureContext: await this.#trustStore({}) }
        : connect;
    return new ProxyAgent({
      ...pool,
      uri: `${proxy.protocol}//${proxy.host}`,
      ...(proxy.protocol === "socks5:"
        ? {
            username: decodeURIComponent(proxy.username),
            password: decodeURIComponent(proxy.password),
          }
        : {}),
      ...(token === undefined || proxy.protocol === "socks5:" ? {} : { token }),
      proxyTunnel: false,
      requestTls: server,
      proxyTls,
    });
  }

  async #trustStore(trust: HttpTrust): Promise<SecureContext> {
    const client = trust.client && (await readClient(trust.client));
    // Reading every authority takes as long as a build's start, to be asked nothing.
    if (trust.skipVerify === true) return trustNobody(client);
    const certificates = await this.#loadCertificates();
    const own: string[] = [];
    for (const file of trust.certificateFiles ?? []) {
      const { pems, problems } = await loadCertificates({ certificateFile: file });
      if (problems[0] !== undefined) throw new Error(problems[0]);
      own.push(...pems);
    }
    return trustStore([...certificates.pems, ...own], client);
  }

  #loadCertificates(): Promise<Certificates> {
    return (this.#certificates ??= loadCertificates(this.#environment));
  }
}

/** Ties one request to its caller's signal, its timer, its connection and its body's source, and lets go of all at its end. */
class Guard {
  readonly timer: StallTimer;
  readonly #caller: AbortSignal;
  readonly #timeouts: HttpTimeouts;
  readonly #turn: Disposable;
  readonly #abort = new AbortController();
  readonly #onAbort = (): void => this.#stop(this.#caller.reason);
  #failure: { readonly error: unknown } | undefined;

  constructor(caller: AbortSignal, timeouts: HttpTimeouts, turn: Disposable) {
    this.#caller = caller;
    this.#timeouts = timeouts;
    this.#turn = turn;
    caller.addEventListener("abort", this.#onAbort, { once: true });
    const shortest = Math.min(timeouts.stallMs, timeouts.answerMs);
    this.timer = new StallTimer(shortest, (error) => this.#stop(error));
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  body(request: HttpRequest): Uint8Array | Readable | null {
    const { body } = request;
    if (body === undefined) return null;
    if (body instanceof Uint8Array) return body;
    const stream: unknown = uploadBody(body, {
      onSent: request.onSent ?? (() => {}),
      onFailure: (error) => (this.#failure = { error }),
      timer: this.timer,
      stallMs: this.#timeouts.stallMs,
      answerMs: this.#timeouts.answerMs,
    });
    // The library takes any async iterable; its types know only of streams, which would read ahead.
    return stream as Readable;
  }

  /** What to throw for an error of the library: the abort, the source's own failure, or the error itself. */
  reason(error: unknown): unknown {
    if (this.#caller.aborted) return this.#caller.reason;
    if (this.#failure !== undefined) return this.#failure.error;
    return this.#abort.signal.aborted ? this.#abort.signal.reason : error;
  }

  end(): void {
    this.timer[Symbol.dispose]();
    this.#caller.removeEventListener("abort", this.#onAbort);
    this.#turn[Symbol.dispose]();
  }

  /** The connection is closed by it, whether or not anybody reads on. */
  #stop(reason: unknown): void {
    this.#abort.abort(reason);
    this.#turn[Symbol.dispose]();
  }
}

class UndiciResponse implements HttpResponse {
  readonly status: number;
  readonly url: URL;
  readonly #headers: Dispatcher.ResponseData["headers"];
  readonly #stream: Dispatcher.ResponseData["body"];
  readonly #guard: Guard;
  readonly #isHead: boolean;
  readonly #stallMs: number;

  constructor(
    url: URL,
    data: Dispatcher.ResponseData,
    guard: Guard,
    isHead: boolean,
    stallMs: number,
  ) {
    this.url = url;
    this.#isHead = isHead;
    this.status = data.statusCode;
    this.#headers = data.headers;
    this.#stream = data.body;
    this.#guard = guard;
    this.#stallMs = stallMs;
    guard.timer.disarm();
    // An abort between two reads has no reader to tell.
    data.body.on("error", () => {});
  }

  header(name: string): string | undefined {
    const value = this.#headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  get body(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  async bytes(limit: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.#read()) {
      size += chunk.length;
      if (size > limit) throw new Error(`the answer is longer than ${limit} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  async discard(): Promise<void> {
    try {
      this.#guard.timer.arm(this.#stallMs, "no byte came");
      // A HEAD announces a length and sends nothing.
      await this.#stream.dump({ limit: this.#isHead ? Number.MAX_SAFE_INTEGER : MAX_DISCARD });
    } catch {
      this.#stream.destroy();
    } finally {
      this.#guard.end();
    }
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    const { timer } = this.#guard;
    try {
      timer.arm(this.#stallMs, "no byte came");
      for await (const chunk of this.#stream as AsyncIterable<Uint8Array>) {
        timer.disarm();
        yield chunk;
        timer.arm(this.#stallMs, "no byte came");
      }
    } catch (error) {
      throw this.#guard.reason(error);
    } finally {
      this.#guard.end();
    }
  }
}
