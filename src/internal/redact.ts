const HIDDEN = "***";

/** Query parameters that registries and token servers use and that say nothing secret. */
const OPEN_PARAMETERS: ReadonlySet<string> = new Set(
  "digest mount from scope service n last".split(" "),
);

const SECRET_HEADER = /authorization|cookie|token|secret|api-?key|signature/i;
const URL_HEADER = /^(?:location|content-location|referer|link)$/i;

/** A URL for messages: without user and password, and with the values of unknown query parameters hidden. */
export function redactUrl(url: URL | string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return redactText(String(url));
  }
  parsed.username = "";
  parsed.password = "";
  parsed.hash = "";
  for (const name of new Set(parsed.searchParams.keys())) {
    if (!OPEN_PARAMETERS.has(name)) parsed.searchParams.set(name, HIDDEN);
  }
  return decodeStars(parsed.href);
}

function decodeStars(text: string): string {
  return text.replaceAll("%2A%2A%2A", HIDDEN);
}

/** Headers for messages: credentials hidden, URLs redacted. */
export function redactHeaders(
  headers: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const shown: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (SECRET_HEADER.test(name)) shown[name] = HIDDEN;
    else shown[name] = URL_HEADER.test(name) ? redactUrl(value) : redactText(value);
  }
  return shown;
}

/** Free text (an error of a library, the body of an answer) without the secrets that have a known form. */
export function redactText(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s/?#@]*@/gi, "$1")
    .replace(/\b(bearer|basic)\s+(?!realm\b)[A-Za-z0-9._~+/=-]{6,}/gi, `$1 ${HIDDEN}`)
    .replace(
      /("?(?:access_token|refresh_token|identitytoken|registrytoken|token|password|secret|auth)"?\s*[:=]\s*)("[^"]*"|[^\s"&,;{}]+)/gi,
      `$1${HIDDEN}`,
    );
}
