import { join, resolve } from "node:path";
import { TsbuildError } from "../errors.js";
import type { HttpEnvironment } from "../registry/types.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Unset and empty are the same to every tool that reads these. */
function value(environment: Environment, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const found = environment[name];
    if (found !== undefined && found !== "") return found;
  }
  return undefined;
}

/** Where the store is when `--store` does not say it. @throws TsbuildError USAGE */
function defaultStore(environment: Environment): string {
  const named = value(environment, "TSBUILD_STORE");
  if (named !== undefined) return resolve(named);
  const cache = value(environment, "XDG_CACHE_HOME");
  if (cache !== undefined) return join(cache, "tsbuild");
  const home = value(environment, "HOME");
  if (home !== undefined) return join(home, ".cache", "tsbuild");
  throw new TsbuildError("USAGE", "there is no place for the store: HOME is not set", {
    hint: "name a directory with --store or TSBUILD_STORE",
  });
}

/** Where a build keeps what it makes, as an absolute path. @throws TsbuildError USAGE */
export function storeDirectory(given: string | undefined, environment: Environment): string {
  return resolve(given ?? defaultStore(environment));
}

/** The proxies and certificates that the environment names, as curl and Go read them. */
export function httpEnvironment(environment: Environment): HttpEnvironment {
  const httpProxy = value(environment, "http_proxy", "HTTP_PROXY");
  const httpsProxy = value(environment, "https_proxy", "HTTPS_PROXY");
  const noProxy = value(environment, "no_proxy", "NO_PROXY");
  const certificateFile = value(environment, "SSL_CERT_FILE");
  const certificateDirectories = value(environment, "SSL_CERT_DIR");
  return {
    ...(httpProxy === undefined ? {} : { httpProxy }),
    ...(httpsProxy === undefined ? {} : { httpsProxy }),
    ...(noProxy === undefined ? {} : { noProxy }),
    ...(certificateFile === undefined ? {} : { certificateFile }),
    ...(certificateDirectories === undefined
      ? {}
      : { certificateDirectories: certificateDirectories.split(":").filter(Boolean) }),
  };
}
