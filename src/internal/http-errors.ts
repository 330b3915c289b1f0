import { errnoOf, messageOf } from "../errors.js";
import { redactText } from "./redact.js";

/** The kinds of failure below HTTP, each of which asks for another hint. */
export type NetworkFault =
  | "refused"
  | "dns"
  | "certificate"
  /** The server asks for one of ours, or does not take the one that it was shown. */
  | "client-certificate"
  | "tls"
  | "timeout"
  | "broken"
  | "unreachable"
  | "proxy"
  | "other";

/** A proxy answered instead of letting the request through. */
export class ProxyError extends Error {
  override readonly name: string = "ProxyError";
}

/** What the HTTP library says of a proxy that refuses to tunnel, as a {@link ProxyError}; any other error as it is. */
export function proxyErrorOf(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const refused = /^Proxy response \((\d+)\)/.exec(error.message);
  if (refused === null) return error;
  return new ProxyError(`the proxy refused the connection (${refused[1]})`, { cause: error });
}

const CERTIFICATE_CODES =
  /^(?:CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|CRL_)/;

/** Alerts of the other end: what it says of certificates it says of ours. */
const CLIENT_CERTIFICATE_CODES =
  /^ERR_SSL_(?:TLSV13_ALERT_CERTIFICATE_REQUIRED|TLSV1_ALERT_UNKNOWN_CA|(?:SSLV3|TLSV1)_ALERT_(?:BAD_|NO_|UNSUPPORTED_)?CERTIFICATE(?:_REVOKED|_EXPIRED|_UNKNOWN)?)$/;

/** `thread:error:code:library:function:reason:file:line:`, of which people need two. */
const OPENSSL = /^[0-9A-F]+:error:[0-9A-F]+:([^:]*):[^:]*:([^:]*):[\s\S]*$/;

const FAULTS: Readonly<Record<string, NetworkFault>> = {
  ECONNREFUSED: "refused",
  ENOTFOUND: "dns",
  EAI_AGAIN: "dns",
  EAI_FAIL: "dns",
  EAI_NODATA: "dns",
  EPROTO: "tls",
  ETIMEDOUT: "timeout",
  UND_ERR_CONNECT_TIMEOUT: "timeout",
  UND_ERR_HEADERS_TIMEOUT: "timeout",
  UND_ERR_BODY_TIMEOUT: "timeout",
  ECONNRESET: "broken",
  EPIPE: "broken",
  UND_ERR_SOCKET: "broken",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "broken",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  UND_ERR_PRX_TLS: "certificate",
};

export function networkFault(error: unknown): NetworkFault {
  if (error instanceof ProxyError) return "proxy";
  const code = errnoOf(error) ?? "";
  if (CERTIFICATE_CODES.test(code)) return "certificate";
  if (CLIENT_CERTIFICATE_CODES.test(code)) return "client-certificate";
  if (code.startsWith("ERR_SSL_") || code.startsWith("ERR_TLS_")) return "tls";
  const known = FAULTS[code];
  if (known !== undefined) return known;
  if (code.startsWith("HPE_")) return "tls";
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? "other" : networkFault(cause);
}

/** The text of a network error, with its code; without what a URL in it may hold. */
export function networkMessage(error: unknown): string {
  const code = errnoOf(error);
  // Node's error for several tried addresses has no text of its own.
  const inner = error instanceof AggregateError ? error.errors.map(messageOf).join("; ") : "";
  const text = redactText(inner === "" ? messageOf(error) : inner)
    .replace(OPENSSL, "$1: $2")
    .replace(/\s+/g, " ")
    .trim();
  if (text === "") return code ?? "unknown error";
  return code === undefined || text.includes(code) ? text : `${text} (${code})`;
}
