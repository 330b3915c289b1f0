/** Addresses and repositories that try to give git an option, a program or a way out of its checkout. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGitServer, type GitServer } from "../context/git-server.js";
import { lacksRoot, lacksTools } from "../support/tools.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksUsers } from "../support/users.js";
import { byPath, readLayout } from "../support/tools-images.js";
import { expectOneLine, openPlace, type Place } from "./support.js";

const LACKS = [lacksRoot(), lacksUsers(), lacksTools("git"), lacksBuild()];

const WHY = /git|not found|no such|not supported|begin with a dash|tried to read the Dockerfile/i;

describeUnless(LACKS, "crafted git sources", () => {
  let place: Place;
  let server: GitServer;
  let first: string;
  const witness = (): string => join(server.root, "witness");
  const flags = (context: string): readonly string[] => ["--context", context];

  beforeAll(async () => {
    place = await openPlace();
    server = await startGitServer();
    first = server.commit("repo", { Dockerfile: "FROM scratch\nCOPY . /\n", "sub/f": "f\n" });
    server.publish("repo");
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await place[Symbol.asyncDispose]();
  });

  const add = async (source: string, more = "") => {
    const id = `add-${Buffer.from(source).toString("hex").slice(0, 180)}`;
    const context = await place.context(id, {
      Dockerfile: `FROM scratch\nADD ${more}${source} /r/\n`,
    });
    return place.build(context);
  };

  const sources: readonly (readonly [what: string, source: (url: string) => string])[] = [
    ["a ref that is an option", (url) => `${url}#--upload-pack=touch`],
    ["a ref of the query that is an option", (url) => `${url}?ref=--upload-pack%3Dtouch`],
    ["a branch that begins with a dash", (url) => `${url}?branch=-x`],
    ["a ref with a refspec", (url) => `${url}#main:refs/heads/other`],
    ["a ref that climbs", (url) => `${url}#../../../etc`],
    ["a subdir that is missing and climbs", (url) => `${url}#main:../../../../etc`],
    ["a subdir in .git", (url) => `${url}#main:.git`],
    ["a host that is an option", () => "ssh://-oProxyCommand=touch/x.git"],
    ["a user that is an option", () => "ssh://-oProxyCommand=touch@host/x.git"],
    ["an address that is an option", () => "git@-oProxyCommand=touch:x.git"],
    ["a path that is an option", () => "git@127.0.0.1:--upload-pack=touch"],
    ["a program", () => "ext::sh%20-c%20touch"],
    ["a file", () => `file://${server.root}/published/repo.git`],
    ["a file that climbs", () => `file://${server.root}/published/../published/repo.git#main`],
  ];

  test.each(sources)("ADD: %s", async (_, source) => {
    const text = source(server.url("smart", "repo.git"));
    expectOneLine(await add(text), WHY);
    expect(existsSync(witness())).toBe(false);
  });

  test.each(sources)("as the context: %s", async (_, source) => {
    const text = source(server.url("smart", "repo.git"));
    const here = await place.context("none", {});
    expectOneLine(await place.build(here, { flags: flags(text) }), WHY);
    expect(existsSync(witness())).toBe(false);
  });

  const modules: readonly (readonly [what: string, text: (url: string) => string])[] = [
    [
      "a program to update with",
      (url) => `path = stolen\n\turl = ${url}\n\tupdate = !touch WITNESS`,
    ],
    ["an address that is an option", () => "path = stolen\n\turl = -oProxyCommand=touch@x:y"],
    ["a host that is an option", () => "path = stolen\n\turl = ssh://-oProxyCommand=touch/x"],
    ["a file", () => "path = stolen\n\turl = file:///etc"],
    ["a program for an address", () => 'path = stolen\n\turl = "ext::sh -c touch% WITNESS"'],
    ["a line break in its address", () => 'path = stolen\n\turl = "http://127.0.0.1:1/x\\nhost=y"'],
    ["a path that climbs", (url) => `path = ../stolen\n\turl = ${url}`],
  ];

  test.each(modules)("a submodule with %s is refused", async (_, text) => {
    const name = `sub-${modules.findIndex(([, one]) => one === text)}`;
    server.commit(name, { Dockerfile: "FROM scratch\n" });
    server.git(name, "update-index", "--add", "--cacheinfo", `160000,${first},stolen`);
    const body = text(server.url("smart", "repo.git")).replace("WITNESS", witness());
    writeFileSync(join(server.root, name, ".gitmodules"), `[submodule "s"]\n\t${body}\n`);
    server.git(name, "add", ".gitmodules");
    server.git(name, "commit", "-q", "-m", "harm");
    server.publish(name);
    const outcome = await add(server.url("smart", `${name}.git`));
    if (outcome.code !== 0) expectOneLine(outcome, /submodule|transport|stolen|fetch/i);
    else {
      // Then nothing of it was followed.
      const files = byPath((await readLayout(outcome.layout)).layers.flat());
      expect([...files.keys()].filter((path) => path.includes("sub/f"))).toEqual([]);
    }
    expect(existsSync(witness())).toBe(false);
  });

  test("a repository's own configuration, hooks and filters are files, and no more", async () => {
    const harm = `touch ${witness()}`;
    server.commit("hooked", {
      config: `[core]\n\tfsmonitor = ${harm}\n\thooksPath = hooks\n\tsshCommand = ${harm}\n`,
      "hooks/post-checkout": `#!/bin/sh\n${harm}\n`,
      ".gitattributes": "* filter=evil diff=evil\n",
      ".gitconfig": `[filter "evil"]\n\tsmudge = ${harm}\n`,
      HEAD: "ref: refs/heads/main\n",
      "objects/x": "",
      "refs/x": "",
    });
    server.publish("hooked");
    const outcome = await add(server.url("smart", "hooked.git"), "--keep-git-dir=true ");
    expectCode(outcome, 0);
    const files = byPath((await readLayout(outcome.layout)).layers.flat());
    expect(files.get("r/hooks/post-checkout")?.type).toBe("file");
    expect(files.get("r/.git/config")?.data.toString()).not.toMatch(/fsmonitor|touch|credential/);
    expect([...files.keys()].filter((path) => path.startsWith("r/.git/hooks/"))).toEqual([]);
    // Its top looks like a bare repository: git must not take it for one.
    const bare = await add(`${server.url("smart", "hooked.git")}#main:hooks`);
    expectCode(bare, 0);
    expect(existsSync(witness())).toBe(false);
  });
});
