import { posix } from "node:path";
import { TsbuildError } from "../errors.js";
import { redactText, redactUrl } from "../internal/redact.js";

/** A user name and a password or token. Never shown. */
export interface GitCredentials {
  readonly username: string;
  readonly password: string;
}

/** A git repository, and what of it is meant: the spellings that ADD knows (BuildKit's `dfgitutil`). */
export interface GitRef {
  /** What git is asked to fetch: without credentials, query and fragment. */
  readonly remote: string;
  /** A branch, a tag, a full name (`refs/…`), a commit or the beginning of one; absent: the default branch. */
  readonly ref?: string;
  /** Below the repository's root, cleaned, without a leading slash; absent: the root. */
  readonly subdir?: string;
  /** The beginning of the commit (or of the annotated tag's object) that `ref` must name. */
  readonly checksum?: string;
  readonly keepGitDir?: boolean;
  /** Absent: true. */
  readonly submodules?: boolean;
  /** Where the files' times come from; absent: `checkout`. */
  readonly mtime?: "checkout" | "commit";
  /** Fetches `checksum` without asking the server what `ref` names. */
  readonly fetchByCommit?: boolean;
  /** Of an http(s) URL: what stood before `@`. */
  readonly credentials?: GitCredentials;
  /** The server of an https URL need not prove who it is. No reference says that itself. */
  readonly skipTlsVerify?: boolean;
}

export interface GitRefOptions {
  /** `github.com/owner/name` counts, as it does for a context; ADD takes it for a local path. */
  readonly shorthand?: boolean;
}

/** What a URL's text falls into; `path` as it is written. */
interface Location {
  readonly remote: string;
  readonly credentials?: GitCredentials;
  readonly query: string;
  readonly fragment: string;
}

const URL_FORM = /^([a-zA-Z0-9]+):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/;
const SCP_FORM = /^([a-zA-Z0-9_-]+)@([a-zA-Z0-9.-]+):(.*?)(?:\?(.*?))?(?:#(.*))?$/;
const HOST = /^(?:[a-zA-Z0-9_.~-]+|\[[0-9a-fA-F:.]+\])(?::\d*)?$/;
const SHORTHAND_PREFIX = "github.com/";
const SCHEMES: ReadonlySet<string> = new Set(["http", "https", "ssh", "git"]);
const TRUE: ReadonlySet<string> = new Set(["1", "t", "T", "TRUE", "true", "True"]);
const FALSE: ReadonlySet<string> = new Set(["0", "f", "F", "FALSE", "false", "False"]);

/**
 * Reads a source of ADD as a git repository; `undefined`: by its spelling it is none. An http(s) URL is one only when
 * its path ends in `.git`.
 * @throws TsbuildError DOCKERFILE_INVALID when it is a git URL whose query, ref or host cannot be
 */
export function parseGitRef(text: string, options: GitRefOptions = {}): GitRef | undefined {
  const location = locate(text, options.shorthand ?? false);
  if (location === undefined) return undefined;
  const refuse = (why: string): TsbuildError =>
    new TsbuildError("DOCKERFILE_INVALID", `tried to read the git URL ${showGitUrl(text)}: ${why}`);
  const [ref = "", ...rest] = location.fragment.split(":");
  const start = { ref, subdir: cleanSubdir(rest.join(":")) };
  const { remote, credentials } = location;
  const parsed = { remote, ...readQuery(location.query, start, refuse) };
  const wrong = findDanger(parsed);
  if (wrong !== undefined) throw refuse(wrong);
  return credentials === undefined ? parsed : { ...parsed, credentials };
}

/** A git URL for messages: without credentials, query and fragment. */
export function showGitUrl(text: string): string {
  const bare = text.replace(/[?#].*$/s, "");
  return /^[a-z0-9]+:\/\//i.test(bare) ? redactUrl(bare) : redactText(bare);
}

/** A whole commit id, SHA-1 or SHA-256, as git writes it. */
export function isCommitId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text);
}

function locate(text: string, shorthand: boolean): Location | undefined {
  if (/\p{Cc}/u.test(text)) return undefined;
  if (text.startsWith(SHORTHAND_PREFIX)) {
    return shorthand ? locateUrl(`https://${text}`, false) : undefined;
  }
  return /^[a-zA-Z0-9]+:\/\//.test(text) ? locateUrl(text, true) : locateScp(text);
}

function locateUrl(text: string, needsSuffix: boolean): Location | undefined {
  const [, rawScheme = "", authority = "", path = "", query = "", rawFragment = ""] =
    URL_FORM.exec(text) ?? [];
  const scheme = rawScheme.toLowerCase();
  const at = authority.lastIndexOf("@");
  const host = authority.slice(at + 1);
  const decoded = decode(path);
  const fragment = decode(rawFragment);
  const user = decode(at < 0 ? "" : authority.slice(0, at).replace(/:.*$/s, ""));
  const password = decode(/:(.*)$/s.exec(at < 0 ? "" : authority.slice(0, at))?.[1] ?? "");
  if (!SCHEMES.has(scheme) || !HOST.test(host)) return undefined;
  if (decoded === undefined || fragment === undefined) return undefined;
  if (user === undefined || password === undefined) return undefined;
  const rest = { query, fragment };
  const place = `${host}${encodePath(path, decoded)}`;
  if (scheme !== "http" && scheme !== "https") {
    // A user belongs to an ssh address; a password has no use there, and would be shown.
    const shown = at < 0 ? "" : `${authority.slice(0, at).replace(/:.*$/s, "")}@`;
    return { remote: `${scheme}://${shown}${place}`, ...rest };
  }
  if (needsSuffix && !decoded.endsWith(".git")) return undefined;
  const remote = `${scheme}://${place}`;
  return at < 0
    ? { remote, ...rest }
    : { remote, ...rest, credentials: { username: user, password } };
}

/** As it is written where a URL may have it so, else encoded anew, as Go's `URL.String` does. */
function encodePath(path: string, decoded: string): string {
  if (/^[\w.~!$&'()*+,;=:@[\]%/-]*$/.test(path)) return path;
  const hex = (c: string): string => `%${c.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURI(decoded).replace(/[?#!'()*]/g, hex);
}

function locateScp(text: string): Location | undefined {
  const match = SCP_FORM.exec(text);
  if (match === null) return undefined;
  const [, user = "", host = "", path = "", query = "", fragment = ""] = match;
  return { remote: `${user}@${host}:${path}`, query, fragment };
}

type Refuse = (why: string) => TsbuildError;
type Query = Omit<GitRef, "remote" | "credentials">;

function readQuery(
  text: string,
  start: { readonly ref: string; readonly subdir: string },
  refuse: Refuse,
): Query {
  const values = splitQuery(text, refuse);
  const bool = (key: string): boolean | undefined => {
    const value = values.get(key);
    if (value === undefined) return undefined;
    if (value === "" || TRUE.has(value)) return true;
    if (FALSE.has(value)) return false;
    throw refuse(`invalid ${key} value: ${JSON.stringify(value)}`);
  };
  const mtime = values.get("mtime");
  if (mtime !== undefined && mtime !== "checkout" && mtime !== "commit") {
    throw refuse(`invalid mtime value: ${JSON.stringify(mtime)} (must be "checkout" or "commit")`);
  }
  const subdir = agree("subdir", start.subdir, values.get("subdir"), refuse) ?? "";
  const found = {
    ref: readRef(values, start.ref, refuse),
    subdir: cleanSubdir(subdir),
    checksum: agree("checksum", values.get("checksum"), values.get("commit"), refuse),
    keepGitDir: bool("keep-git-dir"),
    submodules: bool("submodules"),
    mtime,
    fetchByCommit: bool("fetch-by-commit"),
  };
  return Object.fromEntries(
    Object.entries(found).filter(([, value]) => value !== undefined && value !== ""),
  );
}

const MAY_BE_BARE: ReadonlySet<string> = new Set(["keep-git-dir", "submodules", "fetch-by-commit"]);
const NEED_VALUE: ReadonlySet<string> = new Set(
  "ref tag branch subdir checksum commit mtime".split(" "),
);

function splitQuery(text: string, refuse: Refuse): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const pair of text.split("&").filter((part) => part !== "")) {
    const equals = pair.indexOf("=");
    const [rawKey, rawValue] =
      equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
    const key = decode(rawKey.replaceAll("+", " "));
    const value = decode(rawValue.replaceAll("+", " "));
    if (key === undefined || value === undefined) throw refuse("malformed escape in the query");
    const shown = JSON.stringify(key);
    if (values.has(key)) throw refuse(`query ${shown} has multiple values`);
    if (!MAY_BE_BARE.has(key) && !NEED_VALUE.has(key)) throw refuse(`unexpected query ${shown}`);
    if (value === "" && NEED_VALUE.has(key)) throw refuse(`query ${shown} has no value`);
    values.set(key, value);
  }
  return values;
}

function readRef(values: ReadonlyMap<string, string>, fragment: string, refuse: Refuse): string {
  const full = (key: string, prefix: string): string | undefined => {
    const value = values.get(key);
    return value === undefined || value.startsWith(prefix) ? value : prefix + value;
  };
  const tag = full("tag", "refs/tags/");
  const branch = full("branch", "refs/heads/");
  const ref = agree("ref", agree("ref", fragment, values.get("ref"), refuse), tag, refuse);
  if (tag !== undefined && branch !== undefined) throw refuse("branch conflicts with tag");
  return agree("ref", ref, branch, refuse) ?? "";
}

/** The one that is given, where both are the same one. */
function agree(
  what: string,
  first: string | undefined,
  second: string | undefined,
  refuse: Refuse,
): string | undefined {
  if (first === undefined || first === "") return second;
  if (second === undefined || second === "" || second === first) return first;
  throw refuse(`${what} conflicts: ${JSON.stringify(first)} vs ${JSON.stringify(second)}`);
}

/** What git or ssh could take for an option, or could not be a name. */
export function findDanger({ remote, ref = "", subdir = "" }: GitRef): string | undefined {
  if (ref.startsWith("-")) return `invalid git ref ${JSON.stringify(ref)}`;
  // git-check-ref-format: none of these is in any name.
  if (/[\p{Cc} ~^:?*[\\]|\.\.|@\{/u.test(ref)) return `invalid git ref ${JSON.stringify(ref)}`;
  if (subdir.startsWith("-") || /\p{Cc}/u.test(subdir)) {
    return `invalid subdir ${JSON.stringify(subdir)}`;
  }
  const address = remote.replace(/^[a-z]+:\/\//, "");
  if (/^-|^[^/@]*@-|^[^/:]*:-/.test(address))
    return "user, host and path may not begin with a dash";
  return undefined;
}

/** Cleaned as an absolute path, so that `..` stays inside. */
function cleanSubdir(text: string): string {
  return posix.join("/", text).replace(/^\/+|\/+$/g, "");
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
