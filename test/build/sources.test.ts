import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { build, type BuildOptions } from "../../src/index.js";
import { startGitServer, type GitServer } from "../context/git-server.js";
import { startUrlServer, type UrlServer } from "../context/url-server.js";
import { byPath, readLayout } from "../support/tools-images.js";
import { lacksTools, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { writeTar } from "../support/tools-tar.js";

let dir: TempDir;
let server: UrlServer;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let builds: number;

beforeEach(async () => {
  dir = await tempDir("tsbuild-sources-");
  builds = 0;
  answer = (_, response) => response.writeHead(200, { etag: '"1"' }).end("one\n");
  server = await startUrlServer((request, response) => answer(request, response));
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

/** Builds a Dockerfile, and gives the text of each file of the image. */
async function built(
  dockerfile: readonly string[],
  options: Partial<BuildOptions> = {},
): Promise<Record<string, string>> {
  const context = join(dir.path, `context-${builds}`);
  const ociLayoutPath = join(dir.path, `image-${builds++}`);
  await mkdir(context);
  await writeFile(join(context, "Dockerfile"), `${dockerfile.join("\n")}\n`);
  const store = join(dir.path, "store");
  await build({ context, push: false, store, ociLayoutPath, ...options });
  expect(readdirSync(join(store, "staging"))).toEqual([]);
  if ((options.platform ?? "").includes(",")) return {};
  const files = (await readLayout(ociLayoutPath)).layers.flatMap((layer) => [...byPath(layer)]);
  return Object.fromEntries(
    files
      .filter(([, { type }]) => type === "file")
      .map(([path, { data }]) => [path, data.toString()]),
  );
}

/** A secret in a file, with the line break that an editor leaves. */
async function secret(value: string): Promise<{ readonly file: string }> {
  const file = join(dir.path, `secret-${createHash("sha256").update(value).digest("hex")}`);
  await writeFile(file, `${value}\n`);
  return { file };
}

/** Files of the whole test, secrets aside, that hold a text. */
function holding(text: string): readonly string[] {
  return readdirSync(dir.path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith("secret-"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path).includes(text));
}

describe("a URL in a build", () => {
  test("is fetched once for all that name it, and not again for the next build", async () => {
    const lines = [
      "FROM scratch AS other",
      `ADD ${server.origin}/f /a`,
      "FROM scratch",
      "COPY --from=other /a /a",
      `ADD ${server.origin}/f /b`,
    ];
    const expected = { a: "one\n", b: "one\n" };
    expect(await built(lines)).toEqual(expected);
    expect(server.take()).toEqual(["GET /f"]);
    expect(await built(lines)).toEqual(expected);
    expect(server.take()).toEqual(["HEAD /f"]);
    answer = (_, response) => response.writeHead(200, { etag: '"2"' }).end("two\n");
    expect(await built(lines)).toEqual({ a: "two\n", b: "two\n" });
  });

  test("is fetched once for several platforms", async () => {
    await built(["FROM scratch", `ADD ${server.origin}/f /f`], {
      platform: "linux/amd64,linux/arm64",
    });
    expect(server.take()).toEqual(["GET /f"]);
  });

  test("with a checksum needs no server once it was fetched", async () => {
    const digest = `sha256:${createHash("sha256").update("one\n").digest("hex")}`;
    const lines = ["FROM scratch", `ADD --checksum=${digest} ${server.origin}/f /f`];
    await built(lines);
    await server[Symbol.asyncDispose]();
    expect(await built(lines)).toEqual({ f: "one\n" });
    server = await startUrlServer((request, response) => answer(request, response));
  });

  test("may be the Dockerfile or the context, and is kept like any other", async () => {
    const text = "FROM scratch\nCOPY <<end /made\nhere\nend\n";
    const tar = writeTar([{ name: "Dockerfile", data: text }]);
    answer = (request, response) => {
      const body = request.url?.startsWith("/Dockerfile") === true ? text : tar;
      response.writeHead(200, { etag: '"1"' }).end(request.method === "HEAD" ? "" : body);
    };
    const dockerfile = `${server.origin}/Dockerfile?token=hunter2`;
    for (const method of ["GET", "HEAD"]) {
      expect(await built([], { dockerfile })).toEqual({ made: "here\n" });
      expect(await built([], { context: `${server.origin}/c.tar` })).toEqual({ made: "here\n" });
      expect(server.take()).toEqual([`${method} /Dockerfile?token=hunter2`, `${method} /c.tar`]);
    }
    answer = (_, response) => response.end("FROM scratch\nNOTHING\n");
    const wrong = built([], { dockerfile });
    await expect(wrong).rejects.toMatchObject({ code: "DOCKERFILE_INVALID" });
    await expect(wrong).rejects.not.toThrow("hunter2");
    answer = (_, response) => response.writeHead(404).end();
    await expect(built([], { dockerfile })).rejects.toThrow(/invalid response status 404/);
  });

  test.each([
    [{ HTTP_AUTH_HEADER: "Basic abc=" }, "Basic abc="],
    [{ HTTP_AUTH_TOKEN: "hunter2hunter2" }, "Bearer hunter2hunter2"],
    [
      { HTTP_AUTH_HEADER: "Basic abc=", HTTP_AUTH_TOKEN: "hunter2hunter2" },
      "Bearer hunter2hunter2",
    ],
  ])("is opened by the secrets %j of its host", async (given, header) => {
    const secrets = Object.fromEntries(
      await Promise.all(
        Object.entries(given).map(async ([name, value]) => [
          `${name}_127.0.0.1`,
          await secret(value),
        ]),
      ),
    );
    secrets["HTTP_AUTH_TOKEN_other.test"] = await secret("not-for-this-host");
    await built(["FROM scratch", `ADD ${server.origin}/f /f`], { secrets });
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([header]);
    expect(holding("hunter2")).toEqual([]);
    const bad = { "HTTP_AUTH_TOKEN_127.0.0.1": await secret("two\nlines") };
    const refused = built(["FROM scratch", `ADD ${server.origin}/f /f`], { secrets: bad });
    await expect(refused).rejects.toThrow(/HTTP_AUTH_TOKEN_127\.0\.0\.1 has characters/);
  });

  test("that stops in the middle is left on abort, with nothing in the store", async () => {
    const stop = new AbortController();
    answer = (_, response) => {
      response.write("some");
      setTimeout(() => stop.abort(), 50);
    };
    const running = built(["FROM scratch", `ADD ${server.origin}/f /f`], { signal: stop.signal });
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(existsSync(join(dir.path, "store", "downloads"))).toBe(false);
    expect(readdirSync(join(dir.path, "store", "staging"))).toEqual([]);
  });
});

describeUnless([lacksTools("git")], "a git repository in a build", () => {
  let git: GitServer;
  beforeEach(async () => {
    git = await startGitServer();
    git.commit("app", { hello: "one\n" });
    git.publish("app");
  });
  afterEach(() => git[Symbol.asyncDispose]());

  test("is asked for its refs once a build, and fetched once for all builds and platforms", async () => {
    const lines = ["FROM scratch", `ADD ${git.url("smart", "app.git")} /a/`];
    const twice = [...lines, `ADD ${git.url("smart", "app.git")} /b/`];
    expect(await built(twice)).toEqual({ "a/hello": "one\n", "b/hello": "one\n" });
    git.requests.splice(0);
    await built(twice, { platform: "linux/amd64,linux/arm64" });
    expect(git.requests.splice(0).map(({ line }) => line)).toEqual([
      "GET /smart/app.git/info/refs?service=git-upload-pack",
      "POST /smart/app.git/git-upload-pack",
    ]);
    git.commit("app", { hello: "two\n" });
    git.publish("app");
    expect(await built(lines)).toEqual({ "a/hello": "two\n" });
  });

  test.each([
    ["a token", "GIT_AUTH_TOKEN"],
    ["a header", "GIT_AUTH_HEADER"],
    ["a token of the host", "GIT_AUTH_TOKEN.HOST"],
    ["a header of the host", "GIT_AUTH_HEADER.HOST"],
  ])("is opened by %s in the secrets, which is nowhere else", async (_, name) => {
    const host = new URL(git.url("token", "")).host;
    const id = name.replace("HOST", host);
    const pair = Buffer.from("x-access-token:hunter2hunter2").toString("base64");
    const value = name.includes("TOKEN") ? "hunter2hunter2" : `basic ${pair}`;
    const secrets: Record<string, { readonly file: string }> = { [id]: await secret(value) };
    // What is for the host comes before what is for all.
    if (id !== name) secrets["GIT_AUTH_TOKEN"] = await secret("wrong-token");
    const lines = ["FROM scratch", `ADD --keep-git-dir ${git.url("token", "app.git")} /`];
    expect(await built(lines, { secrets })).toMatchObject({ hello: "one\n" });
    for (const text of ["hunter2", pair, "wrong-token"]) expect(holding(text)).toEqual([]);
    const denied = built(lines, { secrets: { GIT_AUTH_TOKEN: await secret("other-token") } });
    await expect(denied).rejects.toThrow(/Authentication failed/);
    await expect(denied).rejects.not.toThrow("other-token");
    expect(
      await built([], { context: git.url("token", "none.git"), secrets }).catch(String),
    ).toMatch(/not found/);
  });
});
