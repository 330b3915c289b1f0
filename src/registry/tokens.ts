import { TsbuildError } from "../errors.js";
import type { HttpClient, HttpRequest, HttpResponse, HttpTrust } from "../internal/http.js";
import { redactUrl } from "../internal/redact.js";
import {
  isTransientStatus,
  parseRetryAfter,
  retry,
  type RetryPolicy,
  TransientError,
} from "../internal/retry.js";
import type { Challenge } from "./challenge.js";
import type { Endpoint } from "./endpoint.js";
import { networkError, RegistryError, readFaults } from "./errors.js";
import type { Credential, Secret } from "./types.js";

export interface Token {
  readonly text: string;
  /** Milliseconds since the epoch, by this machine's clock. */
  readonly expiresAtMs: number;
  /** A new refresh token, where the server gives one. */
  readonly refreshToken?: string;
}

export interface TokenRequest {
  readonly endpoint: Endpoint;
  /** Whether the registry itself is spoken to over TLS. */
  readonly isSecure: boolean;
  readonly challenge: Challenge;
  readonly scopes: readonly string[];
  readonly credential: Credential | undefined;
  /** Our own certificate for a token server that is not the registry's host. */
  readonly clientFor?: (host: string) => HttpTrust["client"];
  readonly userAgent: string;
  readonly signal: AbortSignal;
}

/** The spec's default; docker never takes less either. */
const MIN_LIFETIME_S = 60;
const MAX_TOKEN_BODY = 256 * 1024;
const CLIENT_ID = "tsbuild";

/**
 * Asks the token server that a challenge names: https://distribution.github.io/distribution/spec/auth/token/, and
 * /oauth/ for refresh tokens.
 * @throws TsbuildError REGISTRY_DENIED or REGISTRY_UNAVAILABLE
 */
export async function fetchToken(
  http: HttpClient,
  policy: RetryPolicy,
  request: TokenRequest,
): Promise<Token> {
  const realm = realmOf(request);
  const what = `get a token for ${request.endpoint.registry}/${request.endpoint.repository} from ${redactUrl(realm)}`;
  try {
    return await retry(policy, request.signal, () => askServer(http, realm, what, request));
  } catch (error) {
    request.signal.throwIfAborted();
    if (error instanceof TsbuildError) throw error;
    if (error instanceof TransientError && error.cause instanceof TsbuildError) throw error.cause;
    const endpoint = { ...request.endpoint, host: hostWithPort(realm) };
    throw networkError({ what, endpoint }, error, await http.certificateProblems());
  }
}

function realmOf({ challenge, endpoint, credential, isSecure }: TokenRequest): URL {
  const realm = challenge.parameters["realm"] ?? "";
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw new TsbuildError(
      "REGISTRY_UNAVAILABLE",
      `tried to log in to ${endpoint.registry}: its challenge names no token server`,
    );
  }
  if (isSecure && url.protocol === "http:" && credential !== undefined) {
    throw new TsbuildError(
      "REGISTRY_DENIED",
      `tried to log in to ${endpoint.registry}: its token server ${redactUrl(url)} is not encrypted, so the credential was not sent`,
    );
  }
  return url;
}

async function askServer(
  http: HttpClient,
  realm: URL,
  what: string,
  request: TokenRequest,
): Promise<Token> {
  const secret = request.credential?.secret;
  let response =
    secret?.kind === "refresh"
      ? await post(http, realm, request, secret)
      : await get(http, realm, request, secret);
  const hasOnlyPost = response.status === 404 || response.status === 405;
  if (hasOnlyPost && secret?.kind === "basic") {
    await response.discard();
    response = await post(http, realm, request, secret);
  }
  if (response.status === 200) return readToken(what, response);
  const error = await refusal(what, request, response);
  if (!isTransientStatus(response.status)) throw error;
  const retryAfterMs = parseRetryAfter(response.header("retry-after"), Date.now());
  throw new TransientError(error.message, {
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** The registry's authorities are believed of its token server too; our certificate is for the host that it was given for. */
function common(realm: URL, request: TokenRequest): Pick<HttpRequest, "trust" | "signal"> {
  const { endpoint, signal, clientFor } = request;
  if (realm.host === endpoint.host) return { trust: endpoint.trust, signal };
  const { client: _, ...trust } = endpoint.trust;
  const client = clientFor?.(realm.host);
  return { trust: client === undefined ? trust : { ...trust, client }, signal };
}

function get(
  http: HttpClient,
  realm: URL,
  request: TokenRequest,
  secret: Secret | undefined,
): Promise<HttpResponse> {
  const url = new URL(realm);
  const { service } = request.challenge.parameters;
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of request.scopes) url.searchParams.append("scope", scope);
  const headers: Record<string, string> = { "user-agent": request.userAgent };
  if (secret?.kind === "basic") headers["authorization"] = basicHeader(secret);
  return http.request(url, { ...common(realm, request), method: "GET", headers });
}

function post(
  http: HttpClient,
  realm: URL,
  request: TokenRequest,
  secret: Exclude<Secret, { kind: "bearer" }>,
): Promise<HttpResponse> {
  const form = new URLSearchParams({ client_id: CLIENT_ID });
  const { service } = request.challenge.parameters;
  if (service !== undefined) form.set("service", service);
  if (request.scopes.length > 0) form.set("scope", request.scopes.join(" "));
  if (secret.kind === "refresh") {
    form.set("grant_type", "refresh_token");
    form.set("refresh_token", secret.token);
  } else {
    form.set("grant_type", "password");
    form.set("username", secret.username);
    form.set("password", secret.password);
  }
  return http.request(realm, {
    ...common(realm, request),
    method: "POST",
    // A form with a secret in it goes to the server that was named, and to no other.
    redirect: "manual",
    headers: {
      "user-agent": request.userAgent,
      "content-type": "application/x-www-form-urlencoded",
    },
    body: Buffer.from(form.toString()),
  });
}

export function basicHeader(secret: {
  readonly username: string;
  readonly password: string;
}): string {
  return `Basic ${Buffer.from(`${secret.username}:${secret.password}`).toString("base64")}`;
}

async function readToken(what: string, response: HttpResponse): Promise<Token> {
  const answer = parseAnswer(Buffer.from(await response.bytes(MAX_TOKEN_BODY)).toString());
  const text = textField(answer, "token") ?? textField(answer, "access_token");
  if (text === undefined) {
    throw new TsbuildError("REGISTRY_UNAVAILABLE", `tried to ${what}: the answer holds no token`);
  }
  const lifetime: unknown = answer["expires_in"];
  const seconds = typeof lifetime === "number" && lifetime > 0 ? lifetime : MIN_LIFETIME_S;
  const refreshToken = textField(answer, "refresh_token");
  return {
    text,
    expiresAtMs: Date.now() + seconds * 1000,
    ...(refreshToken === undefined ? {} : { refreshToken }),
  };
}

function parseAnswer(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    // The parser's message would repeat a part of the token.
    return {};
  }
}

function textField(answer: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = answer[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

async function refusal(
  what: string,
  request: TokenRequest,
  response: HttpResponse,
): Promise<RegistryError> {
  const { status } = response;
  const faults = await readFaults(response);
  const said = faults.map(({ code, message }) => [code, message].filter(Boolean).join(": "));
  const reason = [String(status), ...said].join(" ");
  const source = request.credential?.source;
  const denied = status === 400 || status === 401 || status === 403;
  if (!denied) {
    return new RegistryError("REGISTRY_UNAVAILABLE", `tried to ${what}: it answered ${reason}`, {
      status,
      faults,
    });
  }
  const who = source === undefined ? "an anonymous request" : `the credential of ${source}`;
  return new RegistryError("REGISTRY_DENIED", `tried to ${what}: it refused ${who} (${reason})`, {
    status,
    faults,
    hint: `log in to ${request.endpoint.registry} again; the account needs the right to this repository`,
  });
}

function hostWithPort(url: URL): string {
  if (url.port !== "") return url.host;
  return `${url.hostname}:${url.protocol === "http:" ? 80 : 443}`;
}
