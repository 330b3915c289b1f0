import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseGitRef, resolveGit } from "../../src/context/index.js";
import type { GitCheckout, GitOptions, GitRef, ResolvedGit } from "../../src/context/index.js";
import { TsbuildError } from "../../src/errors.js";
import { startGitServer, type GitServer } from "./git-server.js";
import { startUrlServer } from "./url-server.js";

const { signal } = new AbortController();
const environment = { PATH: process.env["PATH"], NO_PROXY: "*", no_proxy: "*" };

let server: GitServer;
let made: number;
let one: string;

beforeEach(async () => {
  server = await startGitServer();
  made = 0;
  one = server.commit("repo", { README: "one\n", "sub/f": "f\n" });
  server.git("repo", "tag", "-a", "annotated", "-m", "a tag");
  server.publish("repo");
  mkdirSync(join(server.root, "kept"));
});
afterEach(() => server[Symbol.asyncDispose]());

type Extra = Partial<GitOptions>;

function refOf(text: string): GitRef {
  const ref = parseGitRef(text);
  if (ref === undefined) throw new Error(`${text} is no git repository`);
  return ref;
}

function url(rest = "", kind: "smart" | "dumb" = "smart"): string {
  return server.url(kind, "repo.git") + rest;
}

function resolve(text: string, extra: Extra = {}): Promise<ResolvedGit> {
  const options = { repositories: join(server.root, "kept"), environment, signal, ...extra };
  return resolveGit(refOf(text), options);
}

async function fetch(text: string, extra: Extra = {}): Promise<GitCheckout> {
  return (await resolve(text, extra)).checkOut(join(server.root, `made-${made++}`));
}

async function failure(text: string, extra: Extra = {}): Promise<TsbuildError> {
  try {
    await fetch(text, extra);
  } catch (error) {
    if (error instanceof TsbuildError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

function read({ path }: GitCheckout, file: string): string {
  return readFileSync(join(path, file), "utf8");
}

/** What was asked of the server since the last time: listings of refs, and packs. */
function asked(): { readonly listings: number; readonly packs: number; readonly all: number } {
  const lines = server.requests.splice(0).map(({ line }) => line);
  // With protocol 2 a listing is a question of its own, and so is a fetch.
  const posts = lines.filter((line) => line.startsWith("POST ")).length;
  const listings = lines.filter((line) => line.includes("/info/refs")).length;
  return { listings, packs: posts - listings, all: lines.length };
}

function repositories(): readonly string[] {
  return readdirSync(join(server.root, "kept")).map((name) =>
    join(server.root, "kept", name, "repository"),
  );
}

describe("a repository that was fetched before", () => {
  test("is asked for its refs alone, when they have not moved", async () => {
    await fetch(url());
    expect(asked().all).toBeGreaterThan(2);
    const again = await fetch(url());
    expect([again.commit, read(again, "README")]).toEqual([one, "one\n"]);
    expect(asked()).toEqual({ listings: 1, packs: 0, all: 2 });
  });

  test("is asked for nothing when the commit is named", async () => {
    await fetch(url());
    asked();
    for (const rest of [`#${one}`, `?fetch-by-commit&checksum=${one}`]) {
      expect(read(await fetch(url(rest)), "README")).toBe("one\n");
    }
    expect(asked().all).toBe(0);
    expect((await fetch(url(`#${one.slice(0, 9)}`))).commit).toBe(one);
    expect(asked()).toEqual({ listings: 1, packs: 0, all: 2 });
  });

  test.each(["smart", "dumb"] as const)("gives what is new, from a %s server", async (kind) => {
    await fetch(url("", kind));
    const two = server.commit("repo", { README: "two\n" });
    server.git("repo", "checkout", "-q", "--orphan", "other");
    const three = server.commit("repo", { README: "three\n" });
    server.publish("repo");
    expect((await fetch(url("#main", kind))).commit).toBe(two);
    expect((await fetch(url("#other", kind))).commit).toBe(three);
    // What was kept first is there still.
    const old = await fetch(url(`#${one}`, kind));
    expect(read(old, "README")).toBe("one\n");
    const prefix = await fetch(url(`#${three.slice(0, 10)}`, kind));
    expect(read(prefix, "README")).toBe("three\n");
    expect(repositories()).toHaveLength(1);
  });

  test("follows a branch that was rewritten, and names that change places", async () => {
    server.git("repo", "branch", "a");
    server.publish("repo");
    await fetch(url("#a"));
    await fetch(url(`#${one.slice(0, 9)}`));
    server.git("repo", "branch", "-D", "a");
    server.git("repo", "commit", "-q", "--amend", "-m", "rewritten");
    server.git("repo", "branch", "a/b");
    server.git("repo", "tag", "-f", "annotated", "HEAD");
    const rewritten = server.git("repo", "rev-parse", "HEAD");
    server.publish("repo");
    for (const ref of ["a/b", "annotated", "main", rewritten.slice(0, 9)]) {
      expect((await fetch(url(`#${ref}`))).commit).toBe(rewritten);
    }
  });

  test("shows nothing of earlier builds in a .git that is kept, which needs no other", async () => {
    await fetch(url());
    const two = server.commit("repo", { README: "two\n" });
    server.publish("repo");
    const checkout = await fetch(url("#main"), { keepGitDir: true });
    rmSync(join(server.root, "kept"), { recursive: true });
    const inside = checkout.path.slice(server.root.length + 1);
    expect(server.git(inside, "rev-list", "--all", "HEAD")).toBe(two);
    expect(() => server.git(inside, "cat-file", "-e", one)).toThrow();
    expect(server.git(inside, "fsck", "--full")).toBe("");
    expect(server.git(inside, "status", "-s")).toBe("");
    expect(readFileSync(join(checkout.path, ".git", "config"), "utf8")).not.toContain("kept");
  });

  test.each(["objects/pack", "refs", "HEAD"])(
    "is fetched again when %s is damaged",
    async (what) => {
      await fetch(url());
      asked();
      for (const repository of repositories()) damage(join(repository, what));
      expect(read(await fetch(url()), "README")).toBe("one\n");
      expect(asked().packs).toBeGreaterThan(0);
      expect(read(await fetch(url()), "README")).toBe("one\n");
      expect(asked().packs).toBe(0);
    },
  );

  test("survives what a killed git leaves behind", async () => {
    await fetch(url());
    for (const repository of repositories()) {
      for (const name of ["shallow.lock", "packed-refs.lock", "refs/tsbuild/new.lock"]) {
        writeFileSync(join(repository, name), "");
      }
      writeFileSync(join(repository, "objects/pack/tmp_pack_x"), "half");
    }
    const two = server.commit("repo", { README: "two\n" });
    server.publish("repo");
    expect((await fetch(url())).commit).toBe(two);
    expect(repositories().some((path) => existsSync(join(path, "objects/pack/tmp_pack_x")))).toBe(
      false,
    );
  });

  test("is fetched once by builds that come at the same time", async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => fetch(url())));
    expect(all.map((checkout) => read(checkout, "README"))).toEqual(Array(4).fill("one\n"));
    expect(asked().packs).toBe(1);
  });

  test("has its submodules, too", async () => {
    server.commit("inner", { deep: "deep\n" });
    server.publish("inner");
    server.git("repo", "submodule", "add", "-q", "--", `${server.root}/inner`, "in");
    server.git("repo", "config", "-f", ".gitmodules", "submodule.in.url", "../inner.git");
    server.commit("repo", {}, "with inner");
    server.publish("repo");
    await fetch(url());
    asked();
    for (const keepGitDir of [false, true]) {
      const again = await fetch(url(), { keepGitDir });
      expect(read(again, "in/deep")).toBe("deep\n");
      expect(asked()).toEqual({ listings: 1, packs: 0, all: 2 });
    }
  });

  test("is kept under a name that does not tell its address", async () => {
    await fetch(url());
    for (const path of repositories()) {
      expect(path.slice(server.root.length)).not.toContain("repo.git");
      expect(readFileSync(join(path, "config"), "utf8")).not.toContain("127.0.0.1");
    }
  });
});

describe("what a reference means", () => {
  test("is known before anything is fetched, and is the same for what is the same", async () => {
    const of = async (rest: string, extra: Extra = {}): Promise<string> =>
      (await resolve(url(rest), extra)).identity;
    const plain = await of("");
    expect(asked().packs).toBe(0);
    for (const rest of ["#main", "#annotated", `#${one}`, "?branch=main", "#HEAD"]) {
      expect(await of(rest)).toBe(plain);
    }
    const others = await Promise.all([
      of("#:sub"),
      of("?submodules=false"),
      of("?mtime=commit"),
      of("#main", { keepGitDir: true }),
      of("#annotated", { keepGitDir: true }),
    ]);
    expect(new Set([plain, ...others]).size).toBe(6);
    expect(asked().packs).toBe(0);
    expect((await resolve(url("#annotated"))).commit).toBe(one);
  });

  test("is refused by its checksum before anything is fetched", async () => {
    const refused = await failure(url("#main"), { checksum: "0000000" });
    expect(refused.message).toContain("expected checksum to match 0000000");
    expect(asked().packs).toBe(0);
  });
});

describe("an Authorization header", () => {
  const login = { header: "Bearer hunter2hunter2" };

  test("is sent to the repository, and is in no file", async () => {
    const seen: (string | undefined)[] = [];
    await using gate = await startUrlServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(404).end();
    });
    const error = await failure(`${gate.origin}/r.git`, { login });
    expect(seen.length).toBeGreaterThan(0);
    expect(new Set(seen)).toEqual(new Set([login.header]));
    expect(error.message + String(error.hint)).not.toContain("hunter2");
    await fetch(url("?keep-git-dir"), { login });
    expect(server.requests.every(({ authorized }) => authorized)).toBe(true);
    expect(filesWith(server.root, "hunter2")).toEqual([]);
  });

  test("goes to no other host by a redirect", async () => {
    await using gate = await startUrlServer((request, response) => {
      const location = `${server.url("smart", "")}${(request.url ?? "").slice(1)}`;
      response.writeHead(302, { location }).end();
    });
    const error = await failure(`${gate.origin}/repo.git`, { login });
    expect(server.requests).toEqual([]);
    expect(error.hint).toContain("redirects are not followed");
    expect(error.message).not.toContain("hunter2");
    // A password is what git itself keeps back.
    const password = { username: "user", password: "pass word" };
    expect((await fetch(`${gate.origin}/repo.git`, { login: password })).commit).toBe(one);
    expect(server.requests.some(({ authorized }) => authorized)).toBe(false);
  });
});

/** Puts other bytes in the place of a file, or of each file below a directory. */
function damage(path: string): void {
  if (!path.endsWith("HEAD")) {
    for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) overwrite(join(entry.parentPath, entry.name));
    }
  } else overwrite(path);
}

function overwrite(path: string): void {
  rmSync(path);
  writeFileSync(path, "damaged\n");
}

function filesWith(root: string, text: string): readonly string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path).includes(text));
}
