import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile, copyFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import { startHttpProxy } from "../support/http-proxy.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import { type Authority, type Issued, makeAuthority } from "../support/tls.js";
import {
  at,
  basic,
  call,
  client,
  collect,
  configBlob,
  manifestOf,
  randomBlob,
  sourceOf,
} from "./images.js";

const layer = randomBlob(200_000);
const source = { open: sourceOf(layer.bytes) };
const manifest = manifestOf(configBlob({ os: "linux", architecture: "amd64" }).blob, [layer.blob]);

let root = "";
let authority: Authority;
let tls: Issued;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-network-"));
  authority = await makeAuthority(join(root, "ca"));
  tls = await authority.issue("registry.example", "DNS:registry.example,IP:127.0.0.1");
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

describe("unreachable registries", () => {
  test("a closed port is named with the cause", async () => {
    const port = await closedPort();
    await using registry = client();
    await expect(registry.checkPush(at(`127.0.0.1:${port}`, "a:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringMatching(new RegExp(`cannot reach 127.0.0.1:${port}: .*ECONNREFUSED`)),
      hint: expect.stringContaining("nothing listens there"),
    });
  });

  test("a name that does not exist is a matter of DNS", async () => {
    await using registry = client({ retry: { attempts: 1 } });
    await expect(registry.checkPush(at("registry.invalid", "a:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringMatching(
        /cannot reach registry\.invalid:443: .*(?:ENOTFOUND|EAI_AGAIN)/,
      ),
      hint: expect.stringContaining("DNS"),
    });
  });
});

describe("certificates", () => {
  test("an unknown authority is refused with what to do", async () => {
    await using server = await startMemoryRegistry({ tls });
    const file = join(root, "empty.pem");
    await writeFile(file, "nothing\n");
    await using registry = client({ http: { certificateFile: file } });
    await expect(registry.checkPush(at(server.host, "a:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      hint: expect.stringMatching(
        /SSL_CERT_FILE or SSL_CERT_DIR \(.*empty.pem holds no certificate\).*--skip-tls-verify-registry=127/,
      ),
    });
    expect(server.requests.length).toBe(0);
  });

  test("SSL_CERT_FILE, SSL_CERT_DIR, a registry's own file and skipping each let it in", async () => {
    await using server = await startMemoryRegistry({ tls });
    const directory = join(root, "certs");
    await mkdir(directory, { recursive: true });
    await copyFile(authority.certificateFile, join(directory, "a.crt"));
    await writeFile(join(directory, "README"), "no certificate");
    const trust = new Map([[server.host, { certificateFiles: [authority.certificateFile] }]]);
    for (const options of [
      { http: { certificateFile: authority.certificateFile } },
      { http: { certificateDirectories: [join(root, "missing"), directory] } },
      { trust },
      { skipTlsVerify: true },
      { skipTlsVerifyRegistries: new Set([server.host]) },
    ]) {
      await using registry = client(options);
      await registry.checkPush(at(server.host, "a:1"), call());
    }
    await using other = client({ skipTlsVerifyRegistries: new Set(["127.0.0.1"]) });
    await expect(other.checkPush(at(server.host, "a:1"), call())).rejects.toThrow("cannot reach");
  });

  test("a certificate for another name is refused even from a known authority", async () => {
    const issued = await authority.issue("other.example", "DNS:other.example");
    await using server = await startMemoryRegistry({ tls: issued });
    await using registry = client({ http: { certificateFile: authority.certificateFile } });
    await expect(registry.checkPush(at(server.host, "a:1"), call())).rejects.toMatchObject({
      message: expect.stringContaining("ERR_TLS_CERT_ALTNAME_INVALID"),
    });
  });

  test("a client's certificate is shown to its registry", async () => {
    const own = await authority.issue("client", "DNS:client");
    const ca = Buffer.from(
      await import("node:fs").then((fs) => fs.readFileSync(authority.certificateFile)),
    );
    await using server = await startMemoryRegistry({ tls: { ...tls, ca } });
    const certificateFiles = [authority.certificateFile];
    const mutual = { certificateFiles, client: own };
    await using registry = client({ trust: new Map([[server.host, mutual]]) });
    await registry.checkPush(at(server.host, "a:1"), call());
    await using stranger = client({ trust: new Map([[server.host, { certificateFiles }]]) });
    await expect(stranger.checkPush(at(server.host, "a:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
    });
  });

  test("a registry that names itself in plain HTTP behind TLS still gets its uploads in TLS", async () => {
    await using server = await startMemoryRegistry({ tls, location: "plain-scheme" });
    await using registry = client({ skipTlsVerify: true });
    expect(await registry.pushBlob(at(server.host, "a:1"), layer.blob, source, call())).toBe(
      "uploaded",
    );
  });
});

describe("proxies", () => {
  test("TLS goes through a tunnel, with the proxy's credential, and is verified end to end", async () => {
    await using server = await startMemoryRegistry({ tls });
    const hosts = { "registry.example:443": server.port };
    await using proxy = await startHttpProxy({ hosts, credential: "joe:p@ss" });
    const httpsProxy = `http://joe:p%40ss@127.0.0.1:${proxy.port}`;
    const certificateFile = authority.certificateFile;
    await using registry = client({ http: { httpsProxy, certificateFile } });
    const target = at("registry.example", "app:1");
    expect(await registry.pushBlob(target, layer.blob, source, call())).toBe("uploaded");
    const bytes = await collect(registry.blob(target, layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
    expect(new Set(proxy.seen)).toEqual(new Set(["CONNECT registry.example:443"]));
  });

  test("plain HTTP goes to the proxy in absolute form", async () => {
    await using server = await startMemoryRegistry();
    await using proxy = await startHttpProxy({ hosts: { "registry.example:5000": server.port } });
    const address = `127.0.0.1:${proxy.port}`;
    await using registry = client({
      insecureRegistries: new Set(["registry.example:5000"]),
      http: { httpProxy: address, httpsProxy: address },
    });
    const target = at("registry.example:5000", "app:1");
    expect(await registry.pushBlob(target, layer.blob, source, call())).toBe("uploaded");
    expect(proxy.seen.filter((line) => !line.startsWith("CONNECT")).at(-1)).toMatch(
      /^PUT http:\/\/registry\.example:5000\/v2\/app\/blobs\/uploads\//,
    );
    expect(server.blobs.get("app")?.size).toBe(1);
  });

  test("a proxy that asks for a credential is named as the reason", async () => {
    await using proxy = await startHttpProxy({ hosts: {}, credential: "joe:secret" });
    const httpsProxy = `http://joe:wrong-password@127.0.0.1:${proxy.port}`;
    await using registry = client({ http: { httpsProxy }, retry: { attempts: 1 } });
    const error: unknown = await registry
      .checkPush(at("registry.example", "app:1"), call())
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringMatching(
        /registry\.example:443: the proxy refused the connection \(407\)/,
      ),
      hint: expect.stringContaining("NO_PROXY"),
    });
    expect(JSON.stringify(error) + String(error)).not.toContain("wrong-password");
  });

  test("loopback and NO_PROXY go directly", async () => {
    await using server = await startMemoryRegistry();
    await using proxy = await startHttpProxy({ hosts: {} });
    const address = `http://127.0.0.1:${proxy.port}`;
    await using registry = client({
      http: { httpProxy: address, httpsProxy: address, noProxy: "registry.invalid" },
      retry: { attempts: 1 },
    });
    await registry.checkPush(at(server.host, "app:1"), call());
    await expect(registry.checkPush(at("registry.invalid", "app:1"), call())).rejects.toThrow(
      /ENOTFOUND|EAI_AGAIN/,
    );
    expect(proxy.seen).toEqual([]);
  });

  test("a registry that hides what is private is asked for its challenge", async () => {
    const auth = { kind: "basic", username: "alice", password: "p" } as const;
    await using server = await startMemoryRegistry({ tls, auth, hidesPrivate: true });
    server.addManifest("app", "1", manifest, OCI_MANIFEST);
    await using proxy = await startHttpProxy({ hosts: { "registry.example:443": server.port } });
    await using registry = client({
      keychain: basic("alice", "p"),
      http: {
        httpsProxy: `127.0.0.1:${proxy.port}`,
        certificateFile: authority.certificateFile,
      },
    });
    const { bytes } = await registry.manifest(at("registry.example", "app:1"), call());
    expect(bytes.length).toBe(manifest.length);
    expect(server.requests.map(({ status }) => status)).toEqual([404, 401, 200]);
  });
});

test("a process that disposes of its client ends at once, and loads undici only for a request", async () => {
  await using server = await startMemoryRegistry();
  server.addManifest("app", "1", manifest, OCI_MANIFEST);
  const outfile = join("node_modules", `.network-test-${process.pid}.mjs`);
  const contents = `
    import { at, call, client } from "./images.ts";
    import { createRequire, Module } from "node:module";
    const isLoaded = () => Object.keys(createRequire(import.meta.url).cache).some((f) => f.includes("/undici/"));
    const before = isLoaded();
    const registry = client();
    await registry.manifest(at(${JSON.stringify(server.host)}, "app:1"), call());
    const after = isLoaded();
    await registry[Symbol.asyncDispose]();
    process.on("exit", () => console.log(JSON.stringify({ before, after })));
  `;
  await build({
    stdin: { contents, resolveDir: "test/registry", loader: "ts" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    external: ["undici"],
    outfile,
    logLevel: "error",
  });
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [outfile], { timeout: 120_000 });
    const seen: unknown = JSON.parse(stdout);
    // That it ends at all is the point: an idle connection would keep it for seconds.
    expect(seen).toEqual({ before: false, after: true });
  } finally {
    await rm(outfile, { force: true });
  }
});
