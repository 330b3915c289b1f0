import { execFileSync, spawn } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** Repositories in a temporary directory, served on loopback. */
export interface GitServer extends AsyncDisposable {
  /** A directory of the test's own. */
  readonly root: string;
  /** `dumb`: the repository's files, as any web server gives them. `smart`: by git-http-backend. `old`: the same, which knows no protocol version 2. `private`: dumb, for `user` with `pass word` alone. `token`: smart, for `x-access-token` with `hunter2hunter2` alone. `slow`: never answers. */
  url(kind: "dumb" | "smart" | "old" | "private" | "token" | "slow", path: string): string;
  /** `METHOD /path` and whether credentials came with it. */
  readonly requests: { readonly line: string; readonly authorized: boolean }[];
  readonly git: (directory: string, ...args: readonly string[]) => string;
  /** Writes files and commits them in the work tree `name`, which is made when it is new; the commit's id. */
  readonly commit: (
    name: string,
    files: Readonly<Record<string, string>>,
    message?: string,
  ) => string;
  /** Makes what the work tree `name` has now available as `<name>.git`. */
  readonly publish: (name: string) => void;
}

const ENVIRONMENT = {
  PATH: process.env["PATH"] ?? "",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "t",
  GIT_AUTHOR_EMAIL: "t@t",
  GIT_COMMITTER_NAME: "t",
  GIT_COMMITTER_EMAIL: "t@t",
  GIT_AUTHOR_DATE: "1600000000 +0000",
  GIT_COMMITTER_DATE: "1600000000 +0000",
};
const TOKEN = `Basic ${Buffer.from("x-access-token:hunter2hunter2").toString("base64")}`;
const AUTHORIZATION = `Basic ${Buffer.from("user:pass word").toString("base64")}`;

/** `from`: the directory of a server, whose repositories this one begins with. */
export async function startGitServer(from?: string): Promise<GitServer> {
  const root = mkdtempSync(join(tmpdir(), "tsbuild-git-"));
  const published = join(root, "published");
  if (from === undefined) mkdirSync(published);
  else cpSync(from, root, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  const requests: { line: string; authorized: boolean }[] = [];
  const server = createServer((request, response) => {
    const authorized = request.headers.authorization === AUTHORIZATION;
    requests.push({
      line: `${request.method} ${request.url}`,
      authorized: request.headers.authorization !== undefined,
    });
    const [, kind = "", path = ""] = /^\/(\w+)(\/.*)$/.exec(request.url ?? "") ?? [];
    if (kind === "slow") return;
    const isToken = request.headers.authorization === TOKEN;
    if ((kind === "private" && !authorized) || (kind === "token" && !isToken)) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
    } else if (kind === "smart" || kind === "token" || kind === "old") {
      if (kind === "old") delete request.headers["git-protocol"];
      serveSmart(published, path, request, response);
    } else serveFile(published, path, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const git = (directory: string, ...args: readonly string[]): string =>
    execFileSync("git", ["-c", "protocol.file.allow=always", ...args], {
      cwd: join(root, directory),
      env: ENVIRONMENT,
      stdio: ["ignore", "pipe", "pipe"],
      encoding: "utf8",
    }).trim();
  return {
    root,
    requests,
    git,
    url: (kind, path) => `http://127.0.0.1:${port}/${kind}/${path}`,
    commit: (name, files, message = "m") => {
      mkdirSync(join(root, name), { recursive: true });
      if (!statSync(join(root, name, ".git"), { throwIfNoEntry: false })) {
        git(name, "init", "-q", "-b", "main");
      }
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(dirname(join(root, name, path)), { recursive: true });
        writeFileSync(join(root, name, path), content);
      }
      git(name, "add", "-A");
      git(name, "commit", "-q", "-m", message);
      return git(name, "rev-parse", "HEAD");
    },
    publish: (name) => {
      rmSync(join(published, `${name}.git`), { recursive: true, force: true });
      git(".", "clone", "-q", "--bare", name, `published/${name}.git`);
      git(`published/${name}.git`, "update-server-info");
      git(`published/${name}.git`, "config", "http.receivepack", "false");
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function serveFile(root: string, path: string, response: ServerResponse): void {
  const file = join(root, (path.split("?")[0] ?? "").replaceAll("..", ""));
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === true) {
    response.end(readFileSync(file));
  } else response.writeHead(404).end();
}

/** CGI: the program writes the answer's headers first. */
function serveSmart(
  root: string,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const [pathInfo = "", query = ""] = path.split("?");
  const child = spawn("git", ["http-backend"], {
    env: {
      ...ENVIRONMENT,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: pathInfo,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method ?? "",
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
    },
    stdio: ["pipe", "pipe", "ignore"],
  });
  request.pipe(child.stdin);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.on("close", () => {
    const answer = Buffer.concat(chunks);
    const end = answer.indexOf("\r\n\r\n");
    const headers = answer.subarray(0, end).toString("latin1").split("\r\n");
    for (const header of headers) {
      const [name = "", value = ""] = header.split(": ");
      if (name === "Status") response.statusCode = Number.parseInt(value, 10);
      else if (name !== "") response.setHeader(name, value);
    }
    response.end(answer.subarray(end + 4));
  });
}
