// git's way to http and https where git is without its own, as in the executor image: git starts it as git-remote-http
// and git-remote-https, with the name and the URL of the remote (gitremote-helpers(7)).
import { isUnverified, readAccess } from "./context/git-access.js";
import { serveGit } from "./context/git-http/helper.js";
import { type GitClient, GitHttpError } from "./context/git-http/http.js";
import { messageOf } from "./errors.js";
import { httpEnvironment } from "./internal/environment.js";
import { createHttpClient, type HttpClient } from "./internal/http.js";

main(process.argv[3] ?? process.argv[2] ?? "", process.env).catch((error: unknown) => {
  process.stderr.write(`fatal: ${messageOf(error)}\n`);
  process.exitCode = 128;
});

async function main(url: string, environment: NodeJS.ProcessEnv): Promise<void> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => stop.abort());
  }
  await using client = createHttpClient(httpEnvironment(asGitReads(environment)));
  try {
    await serveGit({
      url,
      client: asAllowed(client, environment),
      access: readAccess(environment),
      input: process.stdin,
      output: write,
      signal: stop.signal,
    });
  } catch (error) {
    const why = error instanceof GitHttpError ? error.message : messageOf(error);
    process.stderr.write(`fatal: ${why}\n`);
    process.exitCode = 128;
  }
  process.stdin.destroy();
}

/** One origin need not prove who it is, nor need where it redirects to, as with git itself. */
function asAllowed(client: HttpClient, environment: NodeJS.ProcessEnv): GitClient {
  return {
    certificateProblems: () => client.certificateProblems(),
    request: (url, request) =>
      client.request(
        url,
        isUnverified(url, environment) ? { ...request, trust: { skipVerify: true } } : request,
      ),
  };
}

/** git and libcurl have names of their own for certificates, and for a proxy that is good for all. */
function asGitReads(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const all = environment["all_proxy"] ?? environment["ALL_PROXY"];
  return {
    HTTP_PROXY: all,
    HTTPS_PROXY: all,
    ...environment,
    SSL_CERT_FILE: environment["GIT_SSL_CAINFO"] ?? environment["SSL_CERT_FILE"],
    SSL_CERT_DIR: environment["GIT_SSL_CAPATH"] ?? environment["SSL_CERT_DIR"],
  };
}

function write(bytes: Uint8Array | string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
