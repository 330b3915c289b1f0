import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build, check, type BuildOptions } from "../../src/index.js";
import { mainPlace } from "../../src/build/contexts-place.js";
import { startGitServer, type GitServer } from "../context/git-server.js";
import { byPath, readLayout } from "../support/tools-images.js";
import { writeTar, type TarInput } from "../support/tools-tar.js";
import { eventually, lacksTools, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";

const DOCKERFILE = "FROM scratch\nCOPY hello /\n";
const FILES: readonly TarInput[] = [
  { name: "Dockerfile", data: DOCKERFILE },
  { name: "hello", mode: 0o640, data: "from a tar\n" },
];

let dir: TempDir;
let server: Server;
let origin: string;
let builds = 0;
const served = new Map<string, Uint8Array>();

beforeAll(async () => {
  dir = await tempDir("tsbuild-contexts-");
  server = createServer((request, response) => {
    const body = served.get(request.url ?? "");
    if (body === undefined) response.writeHead(404).end();
    else response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await dir[Symbol.asyncDispose]();
});

type Given = Partial<BuildOptions> & { readonly context: string };

/** Builds, and gives the text of each file of the image; whatever happens, nothing is left in staging. */
async function built(options: Given): Promise<Record<string, string>> {
  const number = builds++;
  const store = join(dir.path, "store");
  const ociLayoutPath = join(dir.path, `image-${number}`);
  try {
    await build({ push: false, store, ociLayoutPath, ...options });
  } finally {
    const staging = join(store, "staging");
    expect(existsSync(staging) ? readdirSync(staging) : []).toEqual([]);
  }
  const files = (await readLayout(ociLayoutPath)).layers.flatMap((layer) => [...byPath(layer)]);
  return Object.fromEntries(
    files
      .filter(([, { type }]) => type === "file")
      .map(([path, { data }]) => [path, data.toString()]),
  );
}

async function fileOf(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(dir.path, name);
  await writeFile(path, bytes);
  return path;
}

async function directoryOf(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const path = join(dir.path, name);
  await mkdir(path);
  for (const [file, text] of Object.entries(files)) await writeFile(join(path, file), text);
  return path;
}

/** Replaces a byte of the layer, which is the largest of the blobs. */
async function damageLargest(blobs: string): Promise<void> {
  const paths = readdirSync(blobs).map((name) => join(blobs, name));
  const [largest = ""] = paths.toSorted((a, b) => statSync(b).size - statSync(a).size);
  const bytes = await readFile(largest);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(largest, bytes);
}

function serve(path: string, bytes: Uint8Array): string {
  served.set(path, bytes);
  return `${origin}${path}`;
}

describe("the main context", () => {
  test("of a check is fetched too, and gone afterwards", async () => {
    const tar = writeTar([{ name: "Dockerfile", data: "FROM scratch\nMAINTAINER me\n" }]);
    const store = join(dir.path, "store");
    const context = `tar://${await fileOf("check.tar", tar)}`;
    const found = await check({ context, store });
    expect(found.map(({ code }) => code)).toEqual(["MaintainerDeprecated"]);
    expect(readdirSync(join(store, "staging"))).toEqual([]);
  });

  test("is a directory, also as Kaniko spells it, or a directory in it", async () => {
    const path = await directoryOf("plain", { Dockerfile: DOCKERFILE, hello: "here\n" });
    expect(await built({ context: path })).toEqual({ hello: "here\n" });
    expect(await built({ context: `dir://${path}` })).toEqual({ hello: "here\n" });
    const below = { context: dir.path, contextSubPath: "/plain/" };
    expect(await built(below)).toEqual({ hello: "here\n" });
    const out = built({ context: path, contextSubPath: "../plain" });
    await expect(out).rejects.toMatchObject({ code: "USAGE" });
  });

  test.each([
    ["plain", (tar: Buffer): Buffer => tar],
    ["compressed with gzip", (tar: Buffer): Buffer => gzipSync(tar)],
  ])("is a tar, %s: a file, on stdin, by URL", async (name, pack) => {
    const bytes = pack(writeTar(FILES));
    const expected = { hello: "from a tar\n" };
    const path = await fileOf(`${name}.tar`, bytes);
    expect(await built({ context: `tar://${path}` })).toEqual(expected);
    const stdin = (): Readable => Readable.from([bytes.subarray(0, 10), bytes.subarray(10)]);
    expect(await built({ context: "-", stdin: stdin() })).toEqual(expected);
    expect(await built({ context: "tar://stdin", stdin: stdin() })).toEqual(expected);
    expect(await built({ context: serve("/context.tar.gz", bytes) })).toEqual(expected);
  });

  test("of a tar has its ignore file, its Dockerfile of another name, its sub-path", async () => {
    const tar = writeTar([
      { name: "app/other", data: "FROM scratch\nCOPY . /\n" },
      { name: "app/.dockerignore", data: "secret\nother\n.dockerignore\n" },
      { name: "app/secret", data: "x" },
      { name: "app/shown", data: "y" },
      { name: "link", type: "symlink", linkname: "app" },
    ]);
    const context = `tar://${await fileOf("sub.tar", tar)}`;
    const options = { context, dockerfile: "other" };
    expect(await built({ ...options, contextSubPath: "app" })).toEqual({ shown: "y" });
    for (const contextSubPath of ["link", "none"]) {
      const wrong = built({ ...options, contextSubPath });
      await expect(wrong).rejects.toThrow(`"${contextSubPath}" is not a directory of it`);
    }
  });

  test("is a Dockerfile alone, on stdin or by URL", async () => {
    const text = Buffer.from("FROM scratch\nCOPY <<end /made\nhello\nend\n");
    const expected = { made: "hello\n" };
    expect(await built({ context: "-", stdin: Readable.from([text]) })).toEqual(expected);
    expect(await built({ context: serve("/Dockerfile", text) })).toEqual(expected);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["empty", Buffer.alloc(0), /on stdin: there is nothing in it/],
    ["no tar", Buffer.from("\0binary"), /on stdin: it is not a tar/],
    ["a compressed text", gzipSync("FROM scratch\n"), /on stdin: it is not a tar/],
    ["cut short", writeTar(FILES).subarray(0, 600), /on stdin: the archive is cut short/],
    ["gzip cut short", gzipSync(writeTar(FILES)).subarray(0, 100), /on stdin: unexpected end/],
    ["hostile", writeTar([{ name: "../../evil", data: "x" }]), /climbs above/],
    [
      "one whose Dockerfile is a link",
      writeTar([{ name: "Dockerfile", type: "symlink", linkname: "/etc/passwd" }]),
      /Dockerfile leads out of the context/,
    ],
    ["one without a Dockerfile", writeTar([{ name: "a" }]), /Dockerfile in the context does not/],
  ])("on stdin that is %s is one error", async (_, bytes, message) => {
    const failed = built({ context: "-", stdin: Readable.from([bytes]) });
    await expect(failed).rejects.toMatchObject({ code: "CONTEXT_UNREADABLE" });
    await expect(failed).rejects.toThrow(message);
    expect(readdirSync(dir.path)).not.toContain("evil");
  });

  test("on stdin that never ends is left on abort", async () => {
    const stop = new AbortController();
    const stdin = new PassThrough();
    stdin.write(writeTar(FILES).subarray(0, 700));
    const staging = join(dir.path, "abort-store", "staging");
    const store = join(dir.path, "abort-store");
    const running = build({ context: "-", stdin, push: false, store, signal: stop.signal });
    running.catch(() => undefined);
    await eventually("the context to be there", () =>
      Promise.resolve(existsSync(staging) && readdirSync(staging).length > 0 ? true : undefined),
    );
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(readdirSync(staging)).toEqual([]);
    expect(stdin.destroyed).toBe(true);
  });

  test.each([
    ["s3://bucket/key", /buckets \(s3:\/\/\) are not supported/],
    ["gs://bucket", /buckets \(gs:\/\/\) are not supported/],
    ["https://me.blob.core.windows.net/c/b.tar.gz", /Azure's keys .* are not supported/],
    ["ftp://host/x.tar", /ftp:\/\/ is not supported/],
    ["https://host/x.git?wrong=1", /unexpected query "wrong"/],
  ])("at %s is refused before anything else", async (context, message) => {
    const refused = built({ context });
    await expect(refused).rejects.toMatchObject({ code: "USAGE" });
    await expect(refused).rejects.toThrow(message);
  });

  test("that is not there is said so", async () => {
    const missing = built({ context: `tar://${dir.path}/none.tar` });
    await expect(missing).rejects.toMatchObject({ code: "CONTEXT_UNREADABLE" });
    await expect(missing).rejects.toThrow(/none\.tar: ENOENT/);
    await expect(built({ context: `${origin}/none` })).rejects.toThrow(/status 404/);
    await expect(built({ context: "-" })).rejects.toMatchObject({ code: "USAGE" });
  });
});

describeUnless([lacksTools("git")], "a git repository as a context", () => {
  let git: GitServer;
  let first: string;
  beforeAll(async () => {
    git = await startGitServer();
    first = git.commit("app", { Dockerfile: DOCKERFILE, hello: "first\n" });
    git.commit("app", { hello: "second\n", "sub/Dockerfile": DOCKERFILE, "sub/hello": "sub\n" });
    git.git("app", "branch", "-q", "side", first);
    git.publish("app");
  });
  afterAll(() => git[Symbol.asyncDispose]());

  test.each([
    ["", "second\n"],
    ["#side", "first\n"],
    ["#main:sub", "sub\n"],
  ])("docker's form, with %j", async (fragment, hello) => {
    expect(await built({ context: `${git.url("smart", "app.git")}${fragment}` })).toEqual({
      hello,
    });
  });

  test("Kaniko's form, with a ref, a commit, a sub-path, and GIT_PULL_METHOD", async () => {
    const context = git.url("smart", "app.git").replace(/^http:/, "git:");
    const environment = { PATH: process.env["PATH"], GIT_PULL_METHOD: "http" };
    const of = (fragment: string, options: Partial<BuildOptions> = {}): Promise<unknown> =>
      built({ context: context + fragment, environment, ...options });
    expect(await of("")).toEqual({ hello: "second\n" });
    expect(await of("#refs/heads/side")).toEqual({ hello: "first\n" });
    expect(await of(`#refs/heads/main#${first}`)).toEqual({ hello: "first\n" });
    expect(await of(`#${first}`)).toEqual({ hello: "first\n" });
    expect(await of("", { contextSubPath: "sub" })).toEqual({ hello: "sub\n" });
    const method = of("", { environment: { GIT_PULL_METHOD: "rsync" } });
    await expect(method).rejects.toThrow('GIT_PULL_METHOD cannot be "rsync"');
  });

  test("on the branch that is named beside it, unless the address has a commit", async () => {
    const context = git.url("smart", "app.git");
    const of = (fragment: string, branch: string): Promise<unknown> =>
      built({ context: context + fragment, git: { branch } });
    expect(await of("", "side")).toEqual({ hello: "first\n" });
    expect(await of("#side:sub", "main")).toEqual({ hello: "sub\n" });
    expect(await of(`#${first}`, "main")).toEqual({ hello: "first\n" });
    await expect(of("", "none")).rejects.toThrow("repository does not contain ref none");
    await expect(of("", "--upload-pack=x")).rejects.toMatchObject({ code: "USAGE" });
  });

  test("says of submodules and certificates what is said beside it", () => {
    const refOf = (text: string, git: NonNullable<BuildOptions["git"]>): unknown => {
      const place = mainPlace({ context: text, git });
      return place.kind === "git" ? place.ref : undefined;
    };
    const remote = "https://host.example/x.git";
    const told = { recurseSubmodules: false, insecureSkipTls: true };
    expect(refOf(remote, told)).toEqual({ remote, submodules: false, skipTlsVerify: true });
    expect(refOf(`${remote}?submodules=true`, told)).toMatchObject({ submodules: true });
    expect(refOf("git://host.example/x.git", {})).toEqual({ remote });
    expect(mainPlace({ context: "dir", git: told })).toEqual({ kind: "directory", path: "dir" });
  });

  test("without its .git, unless the build argument asks for it", async () => {
    const context = git.url("smart", "app.git");
    const options = { context, dockerfile: join(dir.path, "Dockerfile.git") };
    await writeFile(options.dockerfile, "FROM scratch\nCOPY .git* hello /\n");
    expect(Object.keys(await built(options))).toEqual(["hello"]);
    const buildArgs = { BUILDKIT_CONTEXT_KEEP_GIT_DIR: "1" };
    expect(await built({ ...options, buildArgs })).toHaveProperty("HEAD");
  });

  test("with credentials from the environment or the address, which are never shown", async () => {
    const context = git.url("private", "app.git");
    const PATH = process.env["PATH"];
    const account = { PATH, GIT_USERNAME: "user", GIT_PASSWORD: "pass word" };
    const expected = { hello: "second\n" };
    expect(await built({ context, environment: account })).toEqual(expected);
    const kaniko = context.replace("http://", "git://user:pass%20word@");
    const environment = { PATH, GIT_PULL_METHOD: "http" };
    expect(await built({ context: kaniko, environment })).toEqual(expected);
    const before = git.requests.length;
    const denied = built({ context, environment: { PATH, GIT_TOKEN: "wrong-token" } });
    await expect(denied).rejects.toMatchObject({ code: "CONTEXT_UNREADABLE" });
    await expect(denied).rejects.not.toThrow("wrong-token");
    expect(git.requests.slice(before).some(({ authorized }) => authorized)).toBe(true);
  });

  test("as a named context is fetched when it is used", async () => {
    const context = await directoryOf("uses-git", {
      Dockerfile: "FROM scratch\nCOPY --from=app sub/hello /\n",
    });
    const before = git.requests.length;
    const buildContexts = { app: git.url("smart", "app.git"), unused: `${origin}/none.tar` };
    expect(await built({ context, buildContexts })).toEqual({ hello: "sub\n" });
    expect(git.requests.length).toBeGreaterThan(before);
  });
});

describe("a named context", () => {
  test("is an image of an OCI layout, by its tag, its digest, or alone", async () => {
    const base = randomBytes(4096).toString("hex");
    const files = await directoryOf("layout-base", {
      Dockerfile: "FROM scratch\nCOPY base /\nENV a=b\n",
      base,
    });
    const layout = join(dir.path, "layout");
    const { image } = await build({
      context: files,
      push: false,
      store: join(dir.path, "other-store"),
      ociLayoutPath: layout,
      destinations: ["example.com/base:tagged"],
    });
    const context = await directoryOf("uses-layout", {
      Dockerfile:
        "FROM base AS one\nFROM scratch\nCOPY --from=one /base /one\nCOPY --from=base /base /two\n",
      "Dockerfile.from": "FROM base\nCOPY Dockerfile.from /on-top\n",
    });
    for (const suffix of ["", ":tagged", `@${image.digest}`]) {
      const buildContexts = { base: `oci-layout://${layout}${suffix}` };
      expect(await built({ context, buildContexts })).toEqual({ one: base, two: base });
    }
    const buildContexts = { base: `oci-layout://${layout}` };
    const fresh = { context, buildContexts, dockerfile: "Dockerfile.from" };
    // A store that has none of its layers: they go from the layout into the result.
    const onTop = await built({ ...fresh, store: join(dir.path, "empty-store") });
    expect(onTop).toMatchObject({ base });
    const wrong = { base: `oci-layout://${layout}:none` };
    await expect(built({ context, buildContexts: wrong })).rejects.toThrow('no image named "none"');
    await damageLargest(join(layout, "blobs", "sha256"));
    const damaged = built({ ...fresh, store: join(dir.path, "third-store") });
    await expect(damaged).rejects.toThrow(/OCI layout at .*: blob sha256:[0-9a-f]{64} is damaged/);
    const missing = { base: `oci-layout://${dir.path}/missing` };
    await expect(built({ context, buildContexts: missing })).rejects.toMatchObject({
      code: "CONTEXT_UNREADABLE",
    });
  });

  test("is for a platform alone where its name says so, in any of the platform's spellings", async () => {
    const context = await directoryOf("for-platform", {
      Dockerfile: "FROM scratch\nCOPY --from=files name /\n",
    });
    const every = await directoryOf("every-platform", { name: "every" });
    const arm = await directoryOf("arm-alone", { name: "arm" });
    const buildContexts = { files: every, "Files::linux/aarch64": arm };
    const given = { context, buildContexts };
    expect(await built({ ...given, platform: "linux/arm64" })).toEqual({ name: "arm" });
    expect(await built({ ...given, platform: "linux/amd64" })).toEqual({ name: "every" });
    for (const wrong of ["files::", "context::linux/arm64", "::linux/arm64"]) {
      const failing = built({ context, buildContexts: { [wrong]: every } });
      await expect(failing).rejects.toMatchObject({ code: "USAGE" });
    }
  });

  test("is a tar, also by URL; a single file is none", async () => {
    const context = await directoryOf("uses-url", {
      Dockerfile: "FROM scratch\nCOPY --from=app hello /\n",
    });
    const app = serve("/app.tar", gzipSync(writeTar(FILES)));
    expect(await built({ context, buildContexts: { app } })).toEqual({ hello: "from a tar\n" });
    const local = { app: `tar://${await fileOf("named.tar", writeTar(FILES))}` };
    expect(await built({ context, buildContexts: local })).toEqual({ hello: "from a tar\n" });
    const single = { app: serve("/single", Buffer.from("text")) };
    await expect(built({ context, buildContexts: single })).rejects.toThrow(
      /the context app http.*\/single: it is not a tar/,
    );
  });

  test.each([
    ["input:stage", /input: is only known to BuildKit/],
    ["input://stage", /input: is only known to BuildKit/],
    ["s3://bucket", /buckets/],
    ["nothing://x", /nothing:\/\/ is not supported/],
  ])("at %s is refused", async (app, message) => {
    await expect(built({ context: dir.path, buildContexts: { app } })).rejects.toThrow(message);
  });
});
