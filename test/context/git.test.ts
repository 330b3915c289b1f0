import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { fetchGit, openGit, parseGitRef } from "../../src/context/index.js";
import type { GitCheckout, GitOptions, GitRef } from "../../src/context/index.js";
import { TsbuildError } from "../../src/errors.js";
import { ownGit } from "../support/own-git.js";
import { lacksBuild } from "../support/tools-cli.js";
import { startGitServer, type GitServer } from "./git-server.js";

const { signal } = new AbortController();
const environment = { PATH: process.env["PATH"], NO_PROXY: "*", no_proxy: "*" };

let server: GitServer;
let made: number;
/** Commits: the first one with the tags, the one of the branch dev, and main's last. */
let one: string;
let dev: string;
let two: string;

/** What every test begins with. */
let template: GitServer;
/** The git that is run; absent: this machine's. */
let program: string | undefined;

/** With git's own transport, and with ours, which the executor image has. */
const TRANSPORTS = lacksBuild() === undefined ? (["git", "our"] as const) : (["git"] as const);

beforeAll(async () => {
  template = await startGitServer();
  const { root, git, commit, publish } = template;
  commit("repo", { README: "v1\n", "sub/dir/f": "sub\n", "bin/x": "#!/bin/sh\n" });
  chmodSync(join(root, "repo/bin/x"), 0o755);
  symlinkSync("README", join(root, "repo/link"));
  symlinkSync("/etc", join(root, "repo/out"));
  symlinkSync("sub", join(root, "repo/also"));
  git("repo", "add", "-A");
  git("repo", "commit", "-q", "--amend", "-m", "one");
  one = git("repo", "rev-parse", "HEAD");
  git("repo", "tag", "v1.0");
  git("repo", "tag", "-a", "annotated", "-m", "a tag");
  git("repo", "checkout", "-q", "-b", "dev");
  dev = commit("repo", { README: "dev\n" }, "dev");
  git("repo", "checkout", "-q", "main");
  two = commit("repo", { README: "v2\n" }, "two");
  publish("repo");
});
afterAll(async () => {
  await template[Symbol.asyncDispose]();
});
beforeEach(async () => {
  server = await startGitServer(template.root);
  made = 0;
  program = undefined;
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

type Extra = Partial<GitOptions>;

function refOf(text: string): GitRef {
  const ref = parseGitRef(text);
  if (ref === undefined) throw new Error(`${text} is no git repository`);
  return ref;
}

function newDirectory(): string {
  return join(server.root, `made-${made++}`);
}

/** What every build of a test shares: the store's directory of repositories. */
function repositories(): string {
  const path = join(server.root, "repositories");
  mkdirSync(path, { recursive: true });
  return path;
}

async function fetch(text: string | GitRef, extra: Extra = {}): Promise<GitCheckout> {
  const ref = typeof text === "string" ? refOf(text) : text;
  const options = { repositories: repositories(), environment, program, signal, ...extra };
  return fetchGit(ref, { directory: newDirectory(), ...options });
}

/** How it failed; nothing may be left of it. */
async function failure(text: string | GitRef, extra: Extra = {}): Promise<TsbuildError> {
  try {
    await fetch(text, extra);
  } catch (error) {
    expect(readdirSync(server.root).filter((name) => name.startsWith("made-"))).toEqual([]);
    if (error instanceof TsbuildError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

function read({ path }: GitCheckout, file: string): string {
  return readFileSync(join(path, file), "utf8");
}

async function useTransport(transport: (typeof TRANSPORTS)[number]): Promise<void> {
  if (transport === "our") program = await ownGit(join(server.root, "git-core"));
}

const SERVERS = [
  ["dumb", "git"],
  ["smart", "git"],
  ...(["dumb", "old", "smart"] as const).map((kind) => [kind, "our"] as const),
] as const;

describe.each(SERVERS.filter(([, transport]) => TRANSPORTS.some((each) => each === transport)))(
  "a repository on a %s http server, by %s transport",
  (kind, transport) => {
    const url = (rest = ""): string => `${server.url(kind, "repo.git")}${rest}`;
    beforeEach(() => useTransport(transport));

    test("gives its default branch, with the modes of umask 022 and without .git", async () => {
      const checkout = await fetch(url());
      expect(checkout.commit).toBe(two);
      expect(read(checkout, "README")).toBe("v2\n");
      expect(readdirSync(checkout.path).sort()).toEqual(
        ["README", "also", "bin", "link", "out", "sub"].sort(),
      );
      const mode = (path: string): number => lstatSync(join(checkout.path, path)).mode & 0o7777;
      expect([mode("."), mode("README"), mode("bin"), mode("bin/x")]).toEqual([
        0o755, 0o644, 0o755, 0o755,
      ]);
      expect(lstatSync(join(checkout.path, "link")).isSymbolicLink()).toBe(true);
    });

    const most = [
      ["#v1.0", "v1\n"],
      ["#refs/heads/dev", "dev\n"],
      ["#heads/dev", "dev\n"],
      ["#refs/tags/annotated", "v1\n"],
      ["?tag=v1.0", "v1\n"],
      ["?branch=dev", "dev\n"],
      ["#HEAD", "v2\n"],
    ];
    test.each([["#annotated", "v1\n"], ["#dev", "dev\n"], ...(transport === "git" ? most : [])])(
      "gives what %s names",
      async (rest, content) => {
        expect(read(await fetch(url(rest)), "README")).toBe(content);
      },
    );

    test("gives a commit, and the one that begins as said", async () => {
      const whole = await fetch(url(`#${dev}`));
      expect([whole.commit, read(whole, "README")]).toEqual([dev, "dev\n"]);
      const old = await fetch(url(`#${one.slice(0, 9)}`));
      expect([old.commit, read(old, "README")]).toEqual([one, "v1\n"]);
      const byCommit = await fetch(url(`?fetch-by-commit&checksum=${one}`));
      expect(byCommit.commit).toBe(one);
    });

    test("a ref that is not there is an error", async () => {
      for (const ref of ["nothing", "0123456789", "0".repeat(40), "ea/dev"]) {
        const error = await failure(url(`#${ref}`));
        expect(error.code).toBe("CONTEXT_UNREADABLE");
        expect(error.message).toMatch(/does not contain ref|[Uu]nable to find|not our ref/);
        expect(error.message).toContain(`tried to fetch ${url()}: `);
      }
      expect((await failure(`${url().replace("repo", "none")}`)).message).toMatch(/not found/);
    });

    test("submodules come too, without their .git files, unless they are refused", async () => {
      server.commit("inner", { deep: "deep\n" });
      server.publish("inner");
      server.commit("middle", { m: "m\n" });
      server.git(
        "middle",
        "submodule",
        "add",
        "-q",
        "-b",
        "main",
        "--",
        `${server.root}/inner`,
        "inner",
      );
      server.git("middle", "config", "-f", ".gitmodules", "submodule.inner.url", "../inner.git");
      const pinned = server.commit("middle", {}, "with inner");
      server.commit("middle", { m: "later\n" });
      server.publish("middle");
      server.git("repo", "submodule", "add", "-q", "--", `${server.root}/middle`, "mid");
      server.git("repo/mid", "checkout", "-q", pinned);
      server.git("repo", "config", "-f", ".gitmodules", "submodule.mid.url", "../middle.git");
      server.commit("repo", {}, "with middle");
      server.publish("repo");
      const checkout = await fetch(url());
      expect(read(checkout, "mid/m")).toBe("m\n");
      expect(read(checkout, "mid/inner/deep")).toBe("deep\n");
      expect(existsSync(join(checkout.path, "mid/.git"))).toBe(false);
      expect(existsSync(join(checkout.path, "mid/inner/.git"))).toBe(false);
      expect(readdirSync(join((await fetch(url("?submodules=false"))).path, "mid"))).toEqual([]);
      const kept = await fetch(url(), { keepGitDir: true });
      expect(server.git(`${kept.path.slice(server.root.length + 1)}/mid`, "status", "-s")).toBe("");
    });

    test("a kept .git is a repository with a clean tree and a detached HEAD", async () => {
      const checkout = await fetch(url("#dev"), { keepGitDir: true });
      const inside = checkout.path.slice(server.root.length + 1);
      expect(server.git(inside, "status", "-s")).toBe("");
      expect(server.git(inside, "rev-parse", "HEAD", "refs/heads/dev")).toBe(`${dev}\n${dev}`);
      expect(() => server.git(inside, "symbolic-ref", "HEAD")).toThrow();
      expect(server.git(inside, "remote", "get-url", "origin")).toBe(url());
      expect(readdirSync(join(checkout.path, ".git"))).not.toContain("FETCH_HEAD");
      expect(readdirSync(join(checkout.path, ".git"))).not.toContain("hooks");
      const tagged = await fetch(url("?keep-git-dir&tag=annotated"));
      const there = tagged.path.slice(server.root.length + 1);
      expect(server.git(there, "cat-file", "-t", "refs/tags/annotated")).toBe("tag");
      expect(server.git(there, "rev-parse", "HEAD")).toBe(one);
    });
  },
);

describe("a checkout", () => {
  const url = (rest = ""): string => `${server.url("smart", "repo.git")}${rest}`;

  test("brings one commit alone where the server can", async () => {
    const { path } = await fetch(url(), { keepGitDir: true });
    const inside = path.slice(server.root.length + 1);
    expect(server.git(inside, "rev-list", "--count", "HEAD")).toBe("1");
  });

  test("may begin at a subdir, whose .git is never there", async () => {
    const checkout = await fetch(url("#v1.0:sub/dir"), { keepGitDir: true });
    expect(readdirSync(checkout.path)).toEqual(["f"]);
    expect(read(await fetch(url("?subdir=/sub/")), "dir/f")).toBe("sub\n");
  });

  test.each(["out", "out/ssl", "also", "also/dir", "README", "missing", ".git", "sub/missing"])(
    "does not begin at %s, which is no directory of it",
    async (subdir) => {
      const error = await failure(url(`#:${subdir}`));
      expect(error.code).toBe("CONTEXT_UNREADABLE");
      expect(error.message).toContain(`git subpath "${subdir}" contains non-directory`);
    },
  );

  test("has the commit's times when they are asked for", async () => {
    const { path } = await fetch(url("?mtime=commit"));
    for (const file of [".", "README", "sub/dir", "sub/dir/f", "link"]) {
      expect(lstatSync(join(path, file)).mtimeMs).toBe(1_600_000_000_000);
    }
    const now = await fetch(url("?mtime=checkout"));
    expect(lstatSync(join(now.path, "README")).mtimeMs).toBeGreaterThan(1_700_000_000_000);
  });

  test("has the same modes whatever our umask is, and names that are not UTF-8", async () => {
    const name = Buffer.concat([Buffer.from(`${server.root}/repo/`), Buffer.from([0x61, 0xff])]);
    writeFileSync(name, "bytes\n");
    server.commit("repo", {});
    server.publish("repo");
    for (const umask of [0o077, 0o002]) {
      const before = process.umask(umask);
      try {
        const { path } = await fetch(url(), { keepGitDir: true });
        const mode = (file: string): number => statSync(join(path, file)).mode & 0o7777;
        expect(["README", "bin/x", "bin", ".git", ".git/config"].map(mode)).toEqual([
          0o644, 0o755, 0o755, 0o755, 0o644,
        ]);
        const names = readdirSync(path, { encoding: "buffer" }).map((file) => file.toString("hex"));
        expect(names).toContain("61ff");
      } finally {
        process.umask(before);
      }
    }
  });

  test("may come from a repository with SHA-256 ids", async () => {
    mkdirSync(join(server.root, "long"));
    server.git("long", "init", "-q", "-b", "main", "--object-format=sha256");
    const commit = server.commit("long", { a: "a\n" });
    server.publish("long");
    const long = server.url("smart", "long.git");
    expect(commit).toHaveLength(64);
    expect((await fetch(long)).commit).toBe(commit);
    expect((await fetch(`${long}#${commit}`, { checksum: commit })).commit).toBe(commit);
  });

  test("matches a checksum by commit, by its beginning, and by the tag's object", async () => {
    const tag = server.git("repo", "rev-parse", "annotated");
    expect(tag).not.toBe(one);
    for (const checksum of [one, one.slice(0, 7), one.toUpperCase(), tag, tag.slice(0, 12)]) {
      expect((await fetch(url("#annotated"), { checksum })).commit).toBe(one);
    }
    expect((await fetch(url(`?commit=${two}`))).commit).toBe(two);
  });

  test("that does not match the checksum is an error", async () => {
    const tag = server.git("repo", "rev-parse", "annotated");
    const got = (error: TsbuildError): string =>
      error.message.replace(/^.*?: expected/, "expected");
    expect(got(await failure(url("#annotated"), { checksum: "0000000" }))).toBe(
      `expected checksum to match 0000000, got ${tag} or ${one}`,
    );
    expect(got(await failure(url(`?checksum=${one}`)))).toBe(
      `expected checksum to match ${one}, got ${two}`,
    );
    expect((await failure(url(`#${one}`), { checksum: two })).code).toBe("CONTEXT_UNREADABLE");
  });

  test("options that contradict the reference, or are malformed, are errors of the Dockerfile", async () => {
    const cases: readonly (readonly [string, Extra, string])[] = [
      ["?keep-git-dir=false", { keepGitDir: true }, "inconsistent keep-git-dir configuration"],
      ["?checksum=1234567", { checksum: "1234568" }, 'mismatch "1234568" != "1234567"'],
      ["", { checksum: "sha256:00" }, "expected hex commit hash"],
      ["", { checksum: "12345" }, "at least 7 digits"],
    ];
    for (const [rest, extra, why] of cases) {
      const error = await failure(url(rest), extra);
      expect(error.code).toBe("DOCKERFILE_INVALID");
      expect(error.message).toContain(why);
    }
    const error = await failure(url("?fetch-by-commit"));
    expect(error.message).toContain("fetch-by-commit requires a checksum or a commit SHA ref");
  });

  test("is a source that belongs to root, and is removed when it is closed", async () => {
    const directory = newDirectory();
    {
      const options = { repositories: repositories(), environment, signal };
      await using source = await (await openGit(refOf(url("#v1.0")), options)).open(directory);
      expect(source.name).toBe(`git repository ${url()}`);
      expect(source.tree.list("")).toEqual(["README", "also", "bin", "link", "out", "sub"]);
      expect(source.tree.lstat("bin/x")).toMatchObject({ mode: 0o755, uid: 0, gid: 0 });
      expect(Buffer.from(source.tree.read("README") ?? []).toString()).toBe("v1\n");
      expect(existsSync(directory)).toBe(true);
    }
    expect(existsSync(directory)).toBe(false);
  });

  test("does not take a directory that is there already", async () => {
    const directory = newDirectory();
    mkdirSync(directory);
    writeFileSync(join(directory, "mine"), "");
    const options = { directory, repositories: repositories(), environment, signal };
    await expect(fetchGit(refOf(url()), options)).rejects.toThrow();
    expect(readdirSync(directory)).toEqual(["mine"]);
  });
});

describe("a repository that means harm", () => {
  const url = (rest = ""): string => `${server.url("smart", "repo.git")}${rest}`;

  test("gives git no option, whatever a reference made by hand says", async () => {
    const witness = join(server.root, "witness");
    const remote = server.url("smart", "repo.git");
    for (const ref of [`--upload-pack=touch ${witness}`, "--help", "-x"]) {
      await failure({ remote, ref });
    }
    for (const address of [
      `--upload-pack=touch ${witness}`,
      `ext::touch ${witness}`,
      `file://${server.root}/published/repo.git`,
      `${server.root}/published/repo.git`,
    ]) {
      await failure({ remote: address });
      await failure({ remote: address, ref: one });
    }
    expect(existsSync(witness)).toBe(false);
  });

  test.each(["file", "path", "ext"])("reaches nothing by a submodule's %s", async (kind) => {
    const witness = join(server.root, "witness");
    const address = {
      file: `file://${server.root}/published/repo.git`,
      path: `${server.root}/published/repo.git`,
      ext: `ext::touch ${witness}`,
    }[kind];
    server.git("repo", "update-index", "--add", "--cacheinfo", `160000,${one},stolen`);
    writeFileSync(
      join(server.root, "repo/.gitmodules"),
      `[submodule "stolen"]\n\tpath = stolen\n\turl = ${address}\n`,
    );
    server.git("repo", "add", ".gitmodules");
    server.git("repo", "commit", "-q", "-m", "harm");
    server.publish("repo");
    const error = await failure(url());
    expect(error.message).toMatch(/transport '(?:file|ext)' not allowed/);
    expect(existsSync(witness)).toBe(false);
  });

  test("runs no filter, no hook and no program of the user's configuration", async () => {
    server.commit("repo", { ".gitattributes": "* filter=evil\n" });
    server.publish("repo");
    const home = join(server.root, "home");
    const witness = join(server.root, "witness");
    mkdirSync(join(home, ".config/git"), { recursive: true });
    const config = `[filter "evil"]\n\tsmudge = touch ${witness}; cat\n\trequired = true\n`;
    writeFileSync(join(home, ".gitconfig"), config);
    writeFileSync(join(home, ".config/git/config"), config);
    const hostile = {
      HOME: home,
      GIT_CONFIG_GLOBAL: join(home, ".gitconfig"),
      GIT_DIR: "/nowhere",
    };
    const checkout = await fetch(url(), { environment: { ...environment, ...hostile } });
    expect(read(checkout, "README")).toBe("v2\n");
    expect(existsSync(witness)).toBe(false);
  });
});

describe.each(TRANSPORTS)("credentials of a URL, by %s transport", (transport) => {
  beforeEach(() => useTransport(transport));

  const secret = (): string =>
    server.url("private", "repo.git").replace("http://", "http://user:pass%20word@");

  test("open the repository and stay out of a kept .git", async () => {
    const checkout = await fetch(secret(), { keepGitDir: true });
    expect(checkout.commit).toBe(two);
    expect(read(checkout, ".git/config")).toContain(`url = ${server.url("private", "repo.git")}\n`);
    const search = spawnSync("grep", ["-rlE", "pass|user@|user:", checkout.path]);
    expect([search.status, search.stdout.toString()]).toEqual([1, ""]);
  });

  test("may come from the options", async () => {
    const login = { username: "user", password: "pass word" };
    const checkout = await fetch(server.url("private", "repo.git"), { login });
    expect(checkout.commit).toBe(two);
  });

  test("that are refused, or missing, are not shown", async () => {
    const wrong = secret().replace("pass%20word", "hunter2hunter2");
    for (const text of [wrong, server.url("private", "repo.git")]) {
      const error = await failure(text);
      expect(error.message).toContain(`tried to fetch ${server.url("private", "repo.git")}: `);
      expect(error.message).not.toContain("hunter2");
      expect(error.hint).toContain("credentials");
    }
  });

  test("with a line break, which git would take for another answer, are refused", async () => {
    const text = secret().replace("pass%20word", "a%0Ahost=b");
    expect((await failure(text)).message).toMatch(/: user or password has a control character$/);
  });

  test("go to no other host", async () => {
    await using other = await startGitServer();
    server.git("repo", "update-index", "--add", "--cacheinfo", `160000,${one},theirs`);
    writeFileSync(
      join(server.root, "repo/.gitmodules"),
      `[submodule "theirs"]\n\tpath = theirs\n\turl = ${other.url("private", "repo.git")}\n`,
    );
    server.git("repo", "add", ".gitmodules");
    server.git("repo", "commit", "-q", "-m", "theirs");
    server.publish("repo");
    await failure(secret());
    expect(other.requests.length).toBeGreaterThan(0);
    expect(other.requests.filter(({ authorized }) => authorized)).toEqual([]);
  });
});

describe("fetching", () => {
  test("ends on abort, with its processes, and leaves nothing", async () => {
    const controller = new AbortController();
    const directory = newDirectory();
    const remote = server.url("slow", "repo.git");
    const kept = { repositories: repositories() };
    const options = { directory, environment, signal: controller.signal, ...kept };
    const done = fetchGit(refOf(remote), options).catch((error: unknown) => error);
    while (server.requests.length === 0) await setTimeout(10);
    expect(processesOf(remote).length).toBeGreaterThan(0);
    controller.abort(new Error("enough"));
    expect(await done).toMatchObject({ message: "enough" });
    expect(existsSync(directory)).toBe(false);
    expect(processesOf(remote)).toEqual([]);
    await expect(fetchGit(refOf(remote), options)).rejects.toThrow("enough");
  });

  test("says so where there is no git", async () => {
    const error = await failure(server.url("dumb", "repo.git"), {
      environment: { PATH: "/nowhere" },
    });
    expect(error.message).toMatch(/: git is not installed$/);
    expect(error.hint).toContain("install git");
  });
});

/** Running processes with this among their arguments. */
function processesOf(text: string): readonly string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      if (!/^\d+$/.test(name) || !statSync(`/proc/${name}`).isDirectory()) return false;
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes(text);
    } catch {
      return false;
    }
  });
}
