import { type ErrorOptions, type ErrorCode, TsbuildError } from "../errors.js";
import { networkFault, networkMessage } from "../internal/http-errors.js";
import type { HttpResponse } from "../internal/http.js";
import { redactText } from "../internal/redact.js";
import type { Endpoint } from "./endpoint.js";

/** An answer of a registry that is an error, as distribution-spec writes it. */
export interface RegistryFault {
  /** For example MANIFEST_UNKNOWN. */
  readonly code: string;
  readonly message: string;
}

/** A registry's refusal, with what it said. */
export class RegistryError extends TsbuildError {
  override readonly name: string = "RegistryError";
  /** The HTTP status; `undefined` when no answer came. */
  readonly status: number | undefined;
  readonly faults: readonly RegistryFault[];

  constructor(
    code: ErrorCode,
    message: string,
    options: ErrorOptions & {
      readonly status?: number;
      readonly faults?: readonly RegistryFault[];
    },
  ) {
    super(code, message, options);
    this.status = options.status;
    this.faults = options.faults ?? [];
  }
}

/** Whether a push failed because the tag exists and may not be moved (kaniko's --push-ignore-immutable-tag-errors). */
export function isImmutableTagError(error: unknown): boolean {
  if (!(error instanceof RegistryError)) return false;
  return error.faults.some(({ message }) =>
    /\btags?\b.*\bimmutab(?:le|ility)\b|\bimmutab(?:le|ility)\b.*\btags?\b|repository is immutable|configured as immutable/i.test(
      message,
    ),
  );
}

/** Whether the registry says that there is no such repository; some do so with 401 or 403. */
export function isUnknownRepository({ faults }: RegistryError): boolean {
  return faults.some(
    ({ code, message }) =>
      code === "NAME_UNKNOWN" || (code === "NOT_FOUND" && /\brepository\b/i.test(message)),
  );
}

/** Bytes; some registries answer with a whole page. */
const MAX_ERROR_BODY = 64 * 1024;
const MAX_SHOWN = 300;

/** What was tried, for "tried to X", and where. */
export interface Attempt {
  /** For example `push the manifest of ghcr.io/org/app:1`. */
  readonly what: string;
  readonly endpoint: Endpoint;
  /** How the request was authorised, for people: the credential's source, or where none was found. */
  readonly authorization?: string;
}

/** Reads the answer's body. */
export async function statusError(
  attempt: Attempt,
  response: HttpResponse,
): Promise<RegistryError> {
  const { endpoint } = attempt;
  const faults = await readFaults(response);
  const { status } = response;
  const said = faults.map(({ code, message }) => [code, message].filter(Boolean).join(": "));
  const reason = `${status}${said.length === 0 ? "" : ` ${said.join("; ")}`}`;
  const denied = status === 401 || status === 403;
  const where = `${endpoint.registry}/${endpoint.repository}`;
  const text = denied
    ? `the registry refused ${where} (${reason}), ${attempt.authorization ?? "asked without a credential"}`
    : `the registry answered ${reason}`;
  const hint = statusHint(status, attempt, faults);
  return new RegistryError(
    denied ? "REGISTRY_DENIED" : "REGISTRY_UNAVAILABLE",
    `tried to ${attempt.what}: ${text}`,
    { status, faults, ...(hint === undefined ? {} : { hint }) },
  );
}

function statusHint(
  status: number,
  { endpoint }: Attempt,
  faults: readonly RegistryFault[],
): string | undefined {
  if (status === 401 || status === 403) {
    return `log in to ${endpoint.registry} (docker login), or point DOCKER_CONFIG at a directory whose config.json has its credential; the account needs the right to this repository`;
  }
  if (status === 429) return "the registry limits how often it is asked; log in or wait";
  if (faults.some(({ code }) => code === "NAME_UNKNOWN")) {
    return `the repository ${endpoint.repository} may have to be created first`;
  }
  return undefined;
}

/**
 * The same answer, its body read as far as anybody wants it of a refusal. It holds no connection then, which getting a
 * login, often from the same host, may need.
 */
export async function withBodyRead(response: HttpResponse): Promise<HttpResponse> {
  const bytes = await response.bytes(MAX_ERROR_BODY).catch(() => new Uint8Array());
  return {
    status: response.status,
    url: response.url,
    header: (name) => response.header(name),
    body: (async function* () {
      yield bytes;
    })(),
    bytes: () => Promise.resolve(bytes),
    discard: () => Promise.resolve(),
  };
}

/** The errors of an answer, bounded and without control characters. */
export async function readFaults(response: HttpResponse): Promise<readonly RegistryFault[]> {
  let text: string;
  try {
    text = Buffer.from(await response.bytes(MAX_ERROR_BODY)).toString();
  } catch {
    return [];
  }
  const faults = parseFaults(text);
  if (faults.length > 0) return faults;
  const plain = /html/i.test(response.header("content-type") ?? "") ? "" : shorten(text);
  return plain === "" ? [] : [{ code: "", message: plain }];
}

function parseFaults(text: string): readonly RegistryFault[] {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return [];
  }
  if (typeof body !== "object" || body === null) return [];
  const listed: unknown = "errors" in body ? body.errors : undefined;
  const field = (from: object, name: string): string => {
    const value: unknown = Reflect.get(from, name);
    return typeof value === "string" ? shorten(value) : "";
  };
  if (!Array.isArray(listed)) {
    const message = field(body, "message") || field(body, "details") || field(body, "error");
    return message === "" ? [] : [{ code: "", message }];
  }
  return listed.flatMap((item: unknown) => {
    if (typeof item !== "object" || item === null) return [];
    return [{ code: field(item, "code"), message: field(item, "message") }];
  });
}

function shorten(text: string): string {
  // eslint-disable-next-line no-control-regex -- a registry must not write to the terminal
  const line = redactText(text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ")).trim();
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}…` : line;
}

/** No answer came: which host and port, why, and what may help. */
export function networkError(
  attempt: Attempt,
  error: unknown,
  certificateProblems: readonly string[] = [],
): RegistryError {
  const { endpoint } = attempt;
  const host = /:\d+$/.test(endpoint.host) ? endpoint.host : `${endpoint.host}:443`;
  const hint = networkHint(endpoint, error, certificateProblems);
  return new RegistryError(
    "REGISTRY_UNAVAILABLE",
    `tried to ${attempt.what}: cannot reach ${host}: ${networkMessage(error)}`,
    { cause: error, ...(hint === undefined ? {} : { hint }) },
  );
}

function networkHint(
  { registry }: Endpoint,
  error: unknown,
  problems: readonly string[],
): string | undefined {
  switch (networkFault(error)) {
    case "certificate": {
      const also = problems.length === 0 ? "" : ` (${problems.join("; ")})`;
      return `name the authority's certificate with --registry-certificate=${registry}=FILE, SSL_CERT_FILE or SSL_CERT_DIR${also}, or pass --skip-tls-verify-registry=${registry} (or --skip-tls-verify) to accept any`;
    }
    case "client-certificate":
      return `the registry lets in who shows a certificate that it knows: pass --registry-client-cert=${registry}=CERT,KEY`;
    case "tls":
      return `if the registry speaks plain HTTP, pass --insecure-registry=${registry}`;
    case "refused":
      return `nothing listens there; check the port, and that ${registry} is up`;
    case "dns":
      return `check the name ${registry} and the DNS of this machine`;
    case "timeout":
    case "unreachable":
      return "check the network, a firewall between, and HTTP_PROXY, HTTPS_PROXY and NO_PROXY";
    case "proxy":
      return "check HTTP_PROXY and HTTPS_PROXY, or except the registry with NO_PROXY";
    case "broken":
      // What TLS 1.3 tells a client without a certificate comes after its handshake, and is lost.
      return /other side closed/.test(networkMessage(error))
        ? `the registry ended the connection; if it asks for a client's certificate, pass --registry-client-cert=${registry}=CERT,KEY`
        : undefined;
    case "other":
      return undefined;
  }
}
