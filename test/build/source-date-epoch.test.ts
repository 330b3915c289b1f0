import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build, type BuildOptions } from "../../src/index.js";
import { startGitServer, type GitServer } from "../context/git-server.js";
import { tempDir, type TempDir } from "../support/tools.js";

/** When the server's repositories are committed to. */
const COMMITTED = "2020-09-13T12:26:40Z";
const MODIFIED = "2021-02-03T04:05:06Z";
const ARCHIVED = "2011-01-01T00:00:00Z";

let dir: TempDir;
let git: GitServer;
let http: Server;
let web = "";
beforeAll(async () => {
  dir = await tempDir("tsbuild-epoch-");
  git = await startGitServer();
  git.commit("repo", { Dockerfile: "FROM scratch\nCOPY f /\n", f: "text" });
  git.publish("repo");
  const files = join(dir.path, "files");
  await mkdir(files);
  await writeFile(join(files, "Dockerfile"), "FROM scratch\nCOPY f /\n");
  await writeFile(join(files, "f"), "text");
  const archive = join(dir.path, "archive.tgz");
  execFileSync("tar", ["-C", files, "--mtime", ARCHIVED, "-czf", archive, "Dockerfile", "f"]);
  const body = await readFile(archive);
  http = createServer((request, response) => {
    const isDated = request.url?.includes("dated") === true;
    if (isDated) response.setHeader("last-modified", new Date(MODIFIED).toUTCString());
    response.end(request.url?.includes("text") === true ? "no archive" : body);
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  web = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await new Promise((resolve) => http.close(resolve));
  await git[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

let builds = 0;

/** The image's config and the times of its files. */
async function built(lines: readonly string[] | undefined, options: Partial<BuildOptions>) {
  const here = join(dir.path, `build-${builds++}`);
  await mkdir(join(here, "context"), { recursive: true });
  await writeFile(join(here, "context", "local"), "text");
  const own = lines && { dockerfile: join(here, "Dockerfile") };
  if (own !== undefined) await writeFile(own.dockerfile, `${lines?.join("\n")}\n`);
  const layout = join(here, "layout");
  const environment = { PATH: process.env["PATH"], ...options.environment };
  const { configDigest } = await build({
    context: join(here, "context"),
    ...own,
    store: join(dir.path, "store"),
    push: false,
    ociLayoutPath: layout,
    ...options,
    environment,
  });
  const path = join(layout, "blobs", "sha256", configDigest.slice("sha256:".length));
  return JSON.parse(await readFile(path, "utf8")) as {
    readonly created?: string;
    readonly history: { readonly created?: string; readonly created_by?: string }[];
    readonly config: { readonly Labels?: Record<string, string> };
  };
}

const epoch = (value: string) => ({ buildArgs: { SOURCE_DATE_EPOCH: value } });
const LINES = ["FROM scratch", "ARG SOURCE_DATE_EPOCH", "LABEL epoch=$SOURCE_DATE_EPOCH"];

describe("SOURCE_DATE_EPOCH=context", () => {
  test("is the commit's time of a git repository, for its files too", async () => {
    const context = git.url("smart", "repo.git");
    const config = await built(undefined, { context, ...epoch("context"), reproducible: true });
    expect(config.created).toBe(COMMITTED);
    expect(config.history.map(({ created }) => created)).toEqual([COMMITTED]);
  });

  test.each([
    ["the server's time", "dated.tgz", MODIFIED],
    ["the latest file's time where the server says none", "plain.tgz", ARCHIVED],
  ])("is %s of a URL", async (_, name, time) => {
    const config = await built(undefined, { context: `${web}/${name}`, ...epoch("context") });
    expect(config.created).toBe(time);
  });

  test("is nothing for a directory, and the ARG is empty", async () => {
    const config = await built(LINES, epoch("context"));
    expect(config.config.Labels).toEqual({ epoch: "" });
    expect(new Date(config.created ?? 0).getTime()).toBeGreaterThan(Date.parse("2024-01-01"));
    const zero = await built(LINES, { ...epoch("context"), reproducible: true });
    expect(zero.created).toBe("1970-01-01T00:00:00Z");
  });
});

describe("SOURCE_DATE_EPOCH=name", () => {
  test("a named context's time, in the ARG as a number", async () => {
    const buildContexts = { Source: git.url("smart", "repo.git"), base: "docker-image://scratch" };
    const config = await built(LINES, { ...epoch("source"), buildContexts });
    expect(config.created).toBe(COMMITTED);
    expect(config.config.Labels).toEqual({ epoch: "1600000000" });
    const none = await built(LINES, { ...epoch("base"), buildContexts });
    expect(none.config.Labels).toEqual({ epoch: "" });
  });

  test("the time of what a stage adds, from a URL or a repository", async () => {
    const stage = (address: string): readonly string[] => [
      "ARG SOURCE_DATE_EPOCH=Src",
      "ARG server",
      "FROM scratch AS src",
      "ARG name=dated",
      `ADD ${address} /`,
      ...LINES,
    ];
    const url = await built(stage("${server}/${name}.tgz"), { buildArgs: { server: web } });
    // `server` is no ARG of the stage, but BuildKit lets the globals in.
    expect(url.created).toBe(MODIFIED);
    expect(url.config.Labels).toEqual({ epoch: String(Date.parse(MODIFIED) / 1000) });
    const repository = await built(stage(git.url("smart", "repo.git")), {});
    expect(repository.created).toBe(COMMITTED);
    const text = await built(stage(`${web}/text`), {});
    expect(text.config.Labels).toEqual({ epoch: "" });
  });

  test.each([
    [
      "FROM busybox AS src",
      "ADD http://h/x /",
      /must use FROM scratch[\s\S]*Dockerfile:2|Dockerfile:2[\s\S]*must use FROM scratch/,
    ],
    ["FROM scratch AS src", "COPY local /", /unsupported COPY instruction/],
    ["FROM scratch AS src", "ADD local /", /must be a single HTTP\(S\) or Git ADD/],
    ["FROM scratch AS src", "ADD http://h/x http://h/y /", /exactly one remote ADD source/],
    ["FROM scratch AS src", "ADD http://h/x /\nADD http://h/y /", /exactly one remote ADD/],
    ["FROM scratch AS src", "ARG x", /exactly one remote ADD/],
  ])("%s, %s is refused with its place", async (from, instruction, message) => {
    const lines = ["ARG SOURCE_DATE_EPOCH=src", from, instruction, ...LINES];
    const failed = built(lines, {});
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toThrow(/Dockerfile:\d/);
  });

  test("what is none of these is invalid, with the ARG's place", async () => {
    await expect(built(LINES, epoch("yesterday"))).rejects.toThrow(
      "invalid SOURCE_DATE_EPOCH: yesterday",
    );
    const declared = built(["ARG SOURCE_DATE_EPOCH=1e9", ...LINES], {});
    await expect(declared).rejects.toThrow(
      /Dockerfile:1[\s\S]*invalid SOURCE_DATE_EPOCH: 1e9|invalid SOURCE_DATE_EPOCH: 1e9[\s\S]*:1/,
    );
  });

  test("the environment's is a build argument, and one that is given comes first", async () => {
    const environment = { SOURCE_DATE_EPOCH: "5" };
    const lines = ["ARG SOURCE_DATE_EPOCH=9", ...LINES];
    expect((await built(lines, { environment })).config.Labels).toEqual({ epoch: "5" });
    expect((await built(lines, { environment, ...epoch("7") })).config.Labels).toEqual({
      epoch: "7",
    });
  });
});
