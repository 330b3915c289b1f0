import type { HttpRequest, HttpResponse } from "./http.js";

const HTTP: ReadonlySet<string> = new Set(["http:", "https:"]);

/**
 * Whether an answer sends the request elsewhere. 301 to 303 are followed for reads only: for writes clients disagree on
 * whether the body goes along.
 */
export function isRedirect(response: HttpResponse, { method }: HttpRequest): boolean {
  if (response.header("location") === undefined) return false;
  if (response.status === 307 || response.status === 308) return true;
  return (method === "GET" || method === "HEAD") && [301, 302, 303].includes(response.status);
}

/** @throws Error for an address that is none, or is not http(s): a server must not name files of this machine */
export function redirectTarget(response: HttpResponse): URL {
  const location = response.header("location") ?? "";
  if (!URL.canParse(location, response.url.href))
    throw new Error("the redirect leads to no address");
  const url = new URL(location, response.url);
  if (HTTP.has(url.protocol)) return url;
  throw new Error(`a redirect to ${url.protocol} is not followed`);
}

/**
 * The request for the address that a redirect from `from` names. Credentials go along to the same scheme, host and port,
 * or from http to https on the ports that these have by themselves; a request that lost them does not get them back.
 * Go's client also gives them to other ports and to subdomains, which may belong to somebody else.
 */
export function redirected(request: HttpRequest, from: URL, to: URL): HttpRequest {
  const kept = to.origin === from.origin || isUpgrade(from, to) ? request : withoutLogin(request);
  if (to.username === "" || kept.headers?.["authorization"] !== undefined) return kept;
  const authorization = basicAuthorization(to.username, to.password);
  return { ...kept, headers: { ...kept.headers, authorization } };
}

/** The header for a user and a password as a URL has them. */
export function basicAuthorization(user: string, password: string): string {
  const pair = `${decoded(user)}:${decoded(password)}`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

/** What is not escaped stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function isUpgrade(from: URL, to: URL): boolean {
  const isSameHost = from.hostname === to.hostname && from.port === "" && to.port === "";
  return isSameHost && from.protocol === "http:" && to.protocol === "https:";
}

function withoutLogin(request: HttpRequest): HttpRequest {
  const headers = Object.entries(request.headers ?? {}).filter(
    ([name]) => name !== "authorization" && name !== "cookie",
  );
  const { client: _, ...trust } = request.trust ?? {};
  return { ...request, headers: Object.fromEntries(headers), trust };
}
