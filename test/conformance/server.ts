/** What a case's ADD and its contexts fetch: pages, and repositories served as files, on loopback. */
import { existsSync, statSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join, posix } from "node:path";
import { mustRun } from "../support/tools.js";
import type { Case, GitStep, Page } from "./cases.js";
import { writeTree } from "./tree.js";

export interface CaseServer extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
}

/** Serves what the case has under `http` and `git`; its repositories are made below `dir`. */
export async function startServer(one: Case, dir: string): Promise<CaseServer> {
  for (const [name, steps] of Object.entries(one.git ?? {})) {
    await makeRepository(join(dir, name), steps);
  }
  let host = "";
  const server = createServer((request, response) => {
    answer(one, dir, host, request, response).catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  host = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  return {
    host,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  one: Case,
  dir: string,
  host: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = request.url ?? "/";
  const path = url.split("?")[0] ?? "/";
  const page = one.http?.[url] ?? one.http?.[path];
  if (page !== undefined) {
    sendPage(page, host, request, response);
    return;
  }
  const file = join(dir, posix.normalize(`/${decodeURIComponent(path)}`));
  if (one.git !== undefined && existsSync(file) && statSync(file).isFile()) {
    const bytes = await readFile(file);
    response.end(request.method === "HEAD" ? undefined : bytes);
  } else {
    response.writeHead(404).end("not found\n");
  }
}

function sendPage(
  page: Page,
  host: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const body = Buffer.from(
    page.base64 ?? page.content ?? "",
    page.base64 === undefined ? "utf8" : "base64",
  );
  for (const [name, value] of Object.entries(page.headers ?? {})) {
    response.setHeader(name, value.replaceAll("{http}", `http://${host}`));
  }
  const etag = page.headers?.["ETag"];
  if (etag !== undefined && request.headers["if-none-match"] === etag) {
    response.writeHead(304).end();
    return;
  }
  response.writeHead(page.status ?? 200, { "content-length": body.length });
  response.end(request.method === "HEAD" ? undefined : body);
}

/** The same commits, with the same digests, wherever it runs. */
const GIT_ENVIRONMENT = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  GIT_AUTHOR_NAME: "t",
  GIT_AUTHOR_EMAIL: "t@t",
  GIT_COMMITTER_NAME: "t",
  GIT_COMMITTER_EMAIL: "t@t",
  GIT_AUTHOR_DATE: "1700000000 +0000",
  GIT_COMMITTER_DATE: "1700000000 +0000",
};

async function makeRepository(bare: string, steps: readonly GitStep[]): Promise<void> {
  const tree = `${bare}.tree`;
  await mkdir(tree, { recursive: true });
  const git = (cwd: string, ...args: readonly string[]): Promise<string> =>
    mustRun("git", args, { cwd, env: { ...process.env, ...GIT_ENVIRONMENT } });
  await git(tree, "init", "-q", "-b", "main");
  for (const step of steps) {
    if (step.files !== undefined) {
      await writeTree(tree, step.files, undefined);
      await git(tree, "add", "-A");
      await git(tree, "commit", "-q", "-m", step.message ?? "c");
    }
    if (step.tag !== undefined) await git(tree, "tag", step.tag);
    if (step.branch !== undefined) await git(tree, "checkout", "-q", "-b", step.branch);
    if (step.checkout !== undefined) await git(tree, "checkout", "-q", step.checkout);
  }
  await git(tree, "clone", "-q", "--bare", tree, bare);
  await git(bare, "update-server-info");
}
