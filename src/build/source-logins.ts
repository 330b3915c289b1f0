import type { GitLogin } from "../context/index.js";
import { TsbuildError } from "../errors.js";
import type { SecretSource } from "../solver/types.js";

/** What GitHub, GitLab and their kin take beside a token. */
const TOKEN_USER = "x-access-token";

/**
 * What the secrets have for a URL's host, as BuildKit names them: `HTTP_AUTH_TOKEN_<host>` for a bearer token, else
 * `HTTP_AUTH_HEADER_<host>` for the whole value of the Authorization header. The host is without its port.
 * @throws TsbuildError USAGE for a secret that no header can hold
 */
export async function httpLogin(url: string, secret: SecretSource): Promise<string | undefined> {
  if (!URL.canParse(url)) return undefined;
  const { hostname } = new URL(url);
  const token = await readLogin(`HTTP_AUTH_TOKEN_${hostname}`, secret);
  if (token !== undefined) return `Bearer ${token}`;
  return readLogin(`HTTP_AUTH_HEADER_${hostname}`, secret);
}

/**
 * What the secrets have for a git remote over http(s), as BuildKit names them and in its order: `GIT_AUTH_HEADER.<host>`,
 * `GIT_AUTH_TOKEN.<host>`, `GIT_AUTH_HEADER`, `GIT_AUTH_TOKEN`. The host is with its port, if it has one.
 * @throws TsbuildError USAGE for a secret that no header can hold
 */
export async function gitLogin(
  remote: string,
  secret: SecretSource,
): Promise<GitLogin | undefined> {
  if (!/^https?:/.test(remote) || !URL.canParse(remote)) return undefined;
  const { host } = new URL(remote);
  for (const suffix of [`.${host}`, ""]) {
    const header = await readLogin(`GIT_AUTH_HEADER${suffix}`, secret);
    if (header !== undefined) return basicCredentials(header) ?? { header };
    const token = await readLogin(`GIT_AUTH_TOKEN${suffix}`, secret);
    if (token !== undefined) return { username: TOKEN_USER, password: token };
  }
  return undefined;
}

/** A user and a password, which git itself keeps from other hosts, where a header of that kind is given. */
function basicCredentials(header: string): GitLogin | undefined {
  const [, encoded = ""] = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(header) ?? [];
  const pair = Buffer.from(encoded, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  if (colon < 0 || /[\p{Cc}\uFFFD]/u.test(pair)) return undefined;
  return { username: pair.slice(0, colon), password: pair.slice(colon + 1) };
}

/** Without the line break at the end that files have. */
async function readLogin(id: string, secret: SecretSource): Promise<string | undefined> {
  const bytes = await secret(id);
  if (bytes === undefined) return undefined;
  const text = new TextDecoder().decode(bytes).replace(/\r?\n$/, "");
  if (text !== "" && !/[^\x20-\x7e]/.test(text)) return text;
  const why = text === "" ? "is empty" : "has characters that no header can hold";
  throw new TsbuildError("USAGE", `the secret ${id} ${why}`);
}
