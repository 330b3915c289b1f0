import type { HttpEnvironment } from "./http.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Of the first that is set. Unset and empty are the same to every tool that reads these. */
export function valueOf(environment: Environment, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const found = environment[name];
    if (found !== undefined && found !== "") return found;
  }
  return undefined;
}

/** The proxies and certificates that the environment names, as curl and Go read them. */
export function httpEnvironment(environment: Environment): HttpEnvironment {
  const httpProxy = valueOf(environment, "http_proxy", "HTTP_PROXY");
  const httpsProxy = valueOf(environment, "https_proxy", "HTTPS_PROXY");
  const noProxy = valueOf(environment, "no_proxy", "NO_PROXY");
  const certificateFile = valueOf(environment, "SSL_CERT_FILE");
  const certificateDirectories = valueOf(environment, "SSL_CERT_DIR");
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
