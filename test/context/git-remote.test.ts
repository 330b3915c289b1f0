import { rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createServer, request as httpRequest, type RequestListener } from "node:http";
import { createServer as createTls } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { fetchGit, parseGitRef } from "../../src/context/index.js";
import type { GitCheckout, GitOptions } from "../../src/context/index.js";
import { ByteReader } from "../../src/context/git-http/byte-reader.js";
import { packet, PacketTracker, readRequest } from "../../src/context/git-http/packets.js";
import { startHttpProxy } from "../support/http-proxy.js";
import { ownGit } from "../support/own-git.js";
import { makeAuthority, type Issued } from "../support/tls.js";
import { lacksBuild } from "../support/tools-cli.js";
import { lacksTools } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { startGitServer, type GitServer } from "./git-server.js";

const { signal } = new AbortController();
const TOKEN = "x-access-token:hunter2hunter2";

describeUnless([lacksBuild(), lacksTools("openssl")], "our transport", () => {
  let server: GitServer;
  let program: string;
  let made: number;

  beforeEach(async () => {
    server = await startGitServer();
    program = await ownGit(join(server.root, "git-core"));
    made = 0;
    server.commit("repo", { README: "one\n", "sub/f": "f\n" });
    server.commit("repo", { README: "two\n" });
    server.publish("repo");
  });
  afterEach(() => server[Symbol.asyncDispose]());

  function fetch(url: string, extra: Partial<GitOptions> = {}): Promise<GitCheckout> {
    const ref = parseGitRef(url);
    if (ref === undefined) throw new Error(`${url} is no git repository`);
    const directory = join(server.root, `made-${made++}`);
    return fetchGit(ref, { directory, repositories: server.root, program, signal, ...extra });
  }

  test("reads packs from a server that only has files", async () => {
    server.git("published/repo.git", "repack", "-a", "-d", "-q");
    server.commit("repo", { README: "three\n" });
    server.git("repo", "push", "-q", "../published/repo.git", "main");
    server.git("published/repo.git", "prune-packed");
    server.git("published/repo.git", "update-server-info");
    const checkout = await fetch(server.url("dumb", "repo.git"));
    expect(checkout.commit).toBe(server.git("repo", "rev-parse", "HEAD"));
    const asked = server.requests.map(({ line }) => line);
    expect(asked.filter((line) => line.endsWith(".pack"))).toHaveLength(1);
  });

  test("says what is missing on a server that only has files", async () => {
    const tree = server.git("repo", "rev-parse", "HEAD^{tree}");
    const path = `published/repo.git/objects/${tree.slice(0, 2)}/${tree.slice(2)}`;
    rmSync(join(server.root, path));
    await expect(fetch(server.url("dumb", "repo.git"))).rejects.toThrow(`Unable to find ${tree}`);
  });

  test("follows a repository that has moved, and gives the login to its own place alone", async () => {
    await using moved = await serve((request, response) => {
      const location = server.url("token", String(request.url).slice(1));
      response.writeHead(301, { location }).end();
    });
    const [username = "", password = ""] = TOKEN.split(":");
    const login = { username, password };
    await expect(fetch(`${moved.url}/repo.git`, { login })).rejects.toThrow(
      `could not read Username for '${new URL(server.url("token", "")).origin}'`,
    );
    expect(server.requests.filter(({ authorized }) => authorized)).toEqual([]);
    expect(server.requests.length).toBeGreaterThan(0);
    const [, host] = server.url("smart", "repo.git").split("//");
    await using open = await serve((request, response) => {
      const location = `http://${host}${String(request.url).replace(/^\/repo.git/, "")}`;
      response.writeHead(302, { location }).end();
    });
    expect((await fetch(`${open.url}/repo.git`)).commit).toMatch(/^[0-9a-f]{40}$/);
  });

  test("sends a header at once, and follows no redirect with it", async () => {
    const header = `Basic ${Buffer.from(TOKEN).toString("base64")}`;
    await fetch(server.url("token", "repo.git"), { login: { header } });
    expect(server.requests.filter(({ authorized }) => !authorized)).toEqual([]);
    await using moved = await serve((_, response) => {
      response.writeHead(301, { location: server.url("smart", "repo.git/info/refs") }).end();
    });
    const refused = fetch(`${moved.url}/repo.git`, { login: { header } });
    await expect(refused).rejects.toMatchObject({
      message: expect.stringContaining("error: 301"),
      hint: expect.stringContaining("redirects are not followed"),
    });
  });

  test("goes through the proxy, and believes the authority, that the environment names", async () => {
    const authority = await makeAuthority(join(server.root, "tls"));
    const issued = await authority.issue("git.example", "DNS:git.example");
    await using secure = await serve((request, response) => {
      const { method = "", headers } = request;
      const target = server.url("smart", String(request.url).slice(1));
      const forward = httpRequest(target, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      request.pipe(forward);
    }, issued);
    const hosts = { "git.example:443": Number(new URL(secure.url).port) };
    await using proxy = await startHttpProxy({ hosts, credential: "user:secret" });
    const through = { HTTPS_PROXY: `http://user:secret@127.0.0.1:${proxy.port}` };
    const url = "https://git.example/repo.git";
    const unknown = fetch(url, { environment: through });
    await expect(unknown).rejects.toThrow(/certificate/);
    const environment = { ...through, SSL_CERT_FILE: authority.certificateFile };
    expect((await fetch(url, { environment })).commit).toMatch(/^[0-9a-f]{40}$/);
    expect(new Set(proxy.seen)).toEqual(new Set(["CONNECT git.example:443"]));
  });

  test("asks whom nobody vouches for where that is wanted, and so does git itself", async () => {
    const authority = await makeAuthority(join(server.root, "nobody"));
    const issued = await authority.issue("localhost", "DNS:localhost");
    await using secure = await serve((request, response) => {
      const { method = "", headers } = request;
      const target = server.url("smart", String(request.url).slice(1));
      const forward = httpRequest(target, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      request.pipe(forward);
    }, issued);
    const ref = { remote: `${secure.url.replace("http:", "https:")}/repo.git` };
    const environment = { PATH: process.env["PATH"] };
    for (const own of [program, undefined]) {
      const rest = { repositories: join(server.root, own ?? "theirs"), program: own, signal };
      await mkdir(rest.repositories, { recursive: true });
      const into = (): string => join(server.root, `made-${made++}`);
      const options = { ...rest, environment };
      await expect(fetchGit(ref, { ...options, directory: into() })).rejects.toThrow(
        /certificate/i,
      );
      const unverified = { ...ref, skipTlsVerify: true };
      const checkout = await fetchGit(unverified, { ...options, directory: into() });
      expect(checkout.commit).toMatch(/^[0-9a-f]{40}$/);
    }
  });

  test("takes no answer that was cut off for a whole one", async () => {
    const capabilities = ["version 2", "ls-refs", "fetch=shallow"].map((line) => packet(line));
    await using broken = await serve((request, response) => {
      response.setHeader("content-type", "application/x-git-upload-pack-advertisement");
      if (request.method === "GET") response.end(`${capabilities.join("")}0000`);
      else response.end(packet(`${"0".repeat(40)} HEAD`).slice(0, -3));
    });
    await expect(fetch(`${broken.url}/repo.git`)).rejects.toThrow("the answer ended early");
  });

  test("says what the server answers, and that nobody does", async () => {
    const closed = await serve((_, response) => response.writeHead(503).end());
    await expect(fetch(`${closed.url}/repo.git`)).rejects.toThrow("error: 503");
    await closed[Symbol.asyncDispose]();
    await expect(fetch(`${closed.url}/repo.git`)).rejects.toThrow("ECONNREFUSED");
  });
});

interface Served extends AsyncDisposable {
  readonly url: string;
}

/** With a certificate: by TLS. */
async function serve(listener: RequestListener, issued?: Issued): Promise<Served> {
  const server = issued === undefined ? createServer(listener) : createTls(issued, listener);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

test("packets are followed across pieces of any size", () => {
  const bytes = Buffer.from(`${packet("hello")}0001${packet("world")}0000`);
  for (const size of [1, 3, 5, bytes.length]) {
    const tracker = new PacketTracker();
    const wholes: number[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      tracker.push(bytes.subarray(at, at + size));
      if (tracker.isWhole) wholes.push(Math.min(at + size, bytes.length));
    }
    expect(wholes.at(-1)).toBe(bytes.length);
    if (size === 1) expect(wholes).toEqual([9, 13, 22, 26]);
  }
  expect(() => new PacketTracker().push(Buffer.from("<htm"))).toThrow("not git's protocol");
});

test("a request is read to its flush, and no further", async () => {
  const first = `${packet("want")}0001${packet("done")}0000`;
  async function* pieces(): AsyncGenerator<Buffer> {
    for (const byte of Buffer.from(`${first}${packet("more")}`)) yield Buffer.of(byte);
  }
  const reader = new ByteReader(pieces());
  expect(String(await readRequest(reader, "framed"))).toBe(first);
  await expect(readRequest(reader, "payload")).rejects.toThrow("ended early");
});
