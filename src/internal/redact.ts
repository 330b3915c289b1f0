const HIDDEN = "***";

/** Query parameters that registries and token servers use and that say nothing secret. */
const OPEN_PARAMETERS: ReadonlySet<string> = new Set(
  "digest mount from scope service n last".split(" "),
);

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
