import type { GitCredentials } from "./git-ref.js";

/** What opens a repository, at every path of `origin` (submodules mostly are beside it) and nowhere else. */
export type GitAccess = { readonly origin: string } & (
  | { readonly credentials: GitCredentials }
  /** The value of an Authorization header. */
  | { readonly header: string }
);

type Environment = Readonly<Record<string, string | undefined>>;

/** In the environment, where an argument would show it to everybody. */
export function accessEnvironment(access: GitAccess | undefined): Record<string, string> {
  if (access === undefined) return {};
  const { origin } = access;
  if ("header" in access) {
    return {
      TSBUILD_GIT_ORIGIN: origin,
      TSBUILD_GIT_HEADER: access.header,
      GIT_CONFIG_COUNT: "1",
      GIT_CONFIG_KEY_0: `http.${origin}/.extraHeader`,
      GIT_CONFIG_VALUE_0: `Authorization: ${access.header}`,
    };
  }
  const { username, password } = access.credentials;
  return {
    TSBUILD_GIT_ORIGIN: origin,
    TSBUILD_GIT_USERNAME: username,
    TSBUILD_GIT_PASSWORD: password,
  };
}

/** What {@link accessEnvironment} wrote. */
export function readAccess(environment: Environment): GitAccess | undefined {
  const origin = environment["TSBUILD_GIT_ORIGIN"];
  if (origin === undefined) return undefined;
  const header = environment["TSBUILD_GIT_HEADER"];
  if (header !== undefined) return { origin, header };
  const username = environment["TSBUILD_GIT_USERNAME"] ?? "";
  const password = environment["TSBUILD_GIT_PASSWORD"] ?? "";
  return { origin, credentials: { username, password } };
}

/** What our own transport does not verify; git itself goes by its configuration. */
export function unverifiedEnvironment(origin: string | undefined): Record<string, string> {
  return origin === undefined ? {} : { TSBUILD_GIT_UNVERIFIED: origin };
}

/** Whether {@link unverifiedEnvironment} wrote the URL's origin. */
export function isUnverified(url: URL, environment: Environment): boolean {
  const origin = environment["TSBUILD_GIT_UNVERIFIED"];
  return origin !== undefined && URL.canParse(origin) && new URL(origin).origin === url.origin;
}
