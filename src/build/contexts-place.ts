import { statSync } from "node:fs";
import {
  findDanger,
  isCommitId,
  parseGitRef,
  showGitUrl,
  type GitCredentials,
  type GitRef,
} from "../context/index.js";
import { TsbuildError } from "../errors.js";
import { redactUrl } from "../internal/redact.js";
import type { Environment } from "./environment.js";
import type { BuildOptions } from "./options.js";

/** Files that have to be fetched or unpacked before they are a directory. `shown` is for messages. */
export type RemotePlace =
  | {
      readonly kind: "git";
      readonly ref: GitRef;
      readonly shown: string;
      readonly credentials?: GitCredentials | undefined;
    }
  | { readonly kind: "url"; readonly url: string; readonly shown: string }
  | { readonly kind: "tar"; readonly path: string; readonly shown: string }
  | { readonly kind: "stdin"; readonly shown: string };

/** Where the files of a context are. */
export type Place = RemotePlace | { readonly kind: "directory"; readonly path: string };

type MainContextOptions = Pick<BuildOptions, "context" | "environment" | "git">;

const SCHEME = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\/(.*)$/s;
const AZURE = /\.blob\.core\.(?:windows\.net|chinacloudapi\.cn|cloudapi\.de|usgovcloudapi\.net)$/;
const BUCKETS: ReadonlySet<string> = new Set(["s3", "gs"]);
const PULL_METHODS: ReadonlySet<string> = new Set(["https", "http", "git"]);

/**
 * The main context's: docker's forms and Kaniko's. `git://` is Kaniko's and so goes over https, or over what
 * `GIT_PULL_METHOD` says.
 * @throws TsbuildError USAGE
 */
export function mainPlace({ context: text, environment = {}, git }: MainContextOptions): Place {
  const place = spelledPlace(text, environment);
  if (place.kind !== "git" || git === undefined) return place;
  return { ...place, ref: asWanted(place.ref, git) };
}

/** What the address says of submodules comes first, and a commit that it names is the one. */
function asWanted(ref: GitRef, git: NonNullable<BuildOptions["git"]>): GitRef {
  const { branch, recurseSubmodules, insecureSkipTls } = git;
  const isPinned = ref.ref !== undefined && isCommitId(ref.ref);
  const wanted = {
    ...(recurseSubmodules === undefined ? {} : { submodules: recurseSubmodules }),
    ...ref,
    ...(branch === undefined || branch === "" || isPinned ? {} : { ref: branch }),
    ...(insecureSkipTls === true ? { skipTlsVerify: true } : {}),
  };
  const wrong = findDanger(wanted);
  if (wrong === undefined) return wanted;
  throw new TsbuildError("USAGE", `the context's branch cannot be: ${wrong}`);
}

function spelledPlace(text: string, environment: Environment): Place {
  if (text === "-" || text === "tar://stdin") return { kind: "stdin", shown: "on stdin" };
  const [, kaniko] = /^git:\/\/(.*)$/is.exec(text) ?? [];
  if (kaniko !== undefined) {
    const ref = kanikoRef(kaniko, environment);
    const credentials = gitCredentials(environment);
    return { kind: "git", ref, shown: showGitUrl(ref.remote), credentials };
  }
  const place = placeOf(text, "the context");
  if (place.kind !== "git") return place;
  return { ...place, credentials: gitCredentials(environment) };
}

/** What docker and BuildKit know as files, and `dir://` and `tar://`. @throws TsbuildError USAGE */
export function placeOf(text: string, what: string): Place {
  const [, spelled, rest = ""] = SCHEME.exec(text) ?? [];
  const scheme = spelled?.toLowerCase();
  // A directory that is there is meant, however it is called.
  if (scheme === undefined && isDirectory(text)) return { kind: "directory", path: text };
  const ref = gitRef(text);
  if (ref !== undefined) return { kind: "git", ref, shown: showGitUrl(text) };
  if (scheme === undefined) return { kind: "directory", path: text };
  if (scheme === "dir") return { kind: "directory", path: rest };
  if (scheme === "tar") return { kind: "tar", path: rest, shown: text };
  if (scheme === "http" || scheme === "https") return urlPlace(text, what);
  const shown = `${scheme}://`;
  if (BUCKETS.has(scheme)) {
    throw new TsbuildError("USAGE", `${what}: buckets (${shown}) are not supported`, {
      hint: "download the archive first and give tar://PATH, or give an https:// address of it",
    });
  }
  throw new TsbuildError("USAGE", `${what}: ${shown} is not supported`, {
    hint: "give a directory, tar://PATH, a git repository or an https:// address of a tar",
  });
}

function urlPlace(text: string, what: string): Place {
  if (!URL.canParse(text)) throw new TsbuildError("USAGE", `${what}: this is not a URL`);
  const url = new URL(text);
  // A shared access signature is part of the address; keys of the account are not.
  if (AZURE.test(url.hostname) && !url.searchParams.has("sig")) {
    throw new TsbuildError("USAGE", `${what}: Azure's keys (${url.host}) are not supported`, {
      hint: "give an address with a shared access signature (SAS), or download the archive first",
    });
  }
  return { kind: "url", url: text, shown: redactUrl(url) };
}

/** A malformed git URL is a wrong option here, not a wrong Dockerfile. */
function gitRef(text: string): GitRef | undefined {
  try {
    return parseGitRef(text, { shorthand: true });
  } catch (error) {
    if (!(error instanceof TsbuildError)) throw error;
    throw new TsbuildError("USAGE", error.message, { cause: error });
  }
}

/** `[token@|user:password@]host/repository[#ref[:subdir]][#commit]`: the commit, if there is one, is what is checked out. */
function kanikoRef(rest: string, environment: Environment): GitRef {
  const method = environment["GIT_PULL_METHOD"] ?? "";
  if (method !== "" && !PULL_METHODS.has(method)) {
    throw new TsbuildError("USAGE", `GIT_PULL_METHOD cannot be "${method}"`, {
      hint: `expected one of ${[...PULL_METHODS].join(", ")}`,
    });
  }
  const [address = "", first = "", commit] = rest.split("#");
  const [ref = "", subdir] = first.split(":");
  const named = (commit ?? "") === "" ? ref : commit;
  const fragment = subdir === undefined ? named : `${named}:${subdir}`;
  const at = address.split("/")[0]?.lastIndexOf("@") ?? -1;
  const parsed = gitRef(`git://${address.slice(at + 1)}#${fragment}`);
  if (parsed === undefined) {
    throw new TsbuildError("USAGE", "the context: this is not a git repository's address", {
      hint: "expected git://[token@]host/repository[#ref][#commit]",
    });
  }
  const remote = parsed.remote.replace(/^git:/, `${method === "" ? "https" : method}:`);
  if (at < 0) return { ...parsed, remote };
  return { ...parsed, remote, credentials: userInfo(address.slice(0, at)) };
}

function userInfo(text: string): GitCredentials {
  const colon = text.indexOf(":");
  const username = colon < 0 ? text : text.slice(0, colon);
  const password = colon < 0 ? "" : text.slice(colon + 1);
  try {
    return { username: decodeURIComponent(username), password: decodeURIComponent(password) };
  } catch {
    // A password that is not escaped.
    return { username, password };
  }
}

/** Kaniko's variables; they are for the main context's host and for no other. */
function gitCredentials(environment: Environment): GitCredentials | undefined {
  const { GIT_TOKEN = "", GIT_USERNAME = "", GIT_PASSWORD = "" } = environment;
  if (GIT_TOKEN !== "") return { username: GIT_TOKEN, password: "" };
  if (GIT_USERNAME === "" && GIT_PASSWORD === "") return undefined;
  return { username: GIT_USERNAME, password: GIT_PASSWORD };
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
