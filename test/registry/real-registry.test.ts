import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import type { RegistryOptions } from "../../src/registry/types.js";
import { makeAuthority } from "../support/tls.js";
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

const run = promisify(execFile);

function isInstalled(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`]);
    return true;
  } catch {
    return false;
  }
}

const missing = ["docker-registry", "htpasswd", "openssl"].filter((name) => !isInstalled(name));
if (missing.length > 0) console.log(`skipped: not installed here: ${missing.join(", ")}`);

const cleanups: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function startRegistry(directory: string, extra: object, http: object): Promise<string> {
  const port = await freePort();
  const file = join(directory, `registry-${port}.json`);
  const config = {
    version: 0.1,
    log: { level: "error", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(directory, `data-${port}`) } },
    http: { addr: `127.0.0.1:${port}`, ...http },
    ...extra,
  };
  await writeFile(file, JSON.stringify(config));
  const child = spawn("docker-registry", ["serve", file], { stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  cleanups.push(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const host = `127.0.0.1:${port}`;
  await using probe = client({
    skipTlsVerify: true,
    retry: { attempts: 50, firstDelayMs: 50, maxDelayMs: 200 },
  });
  const answered = /404|REGISTRY_DENIED|refused/;
  await probe.manifest(at(host, "nothing:here"), call()).catch((error: unknown) => {
    if (!answered.test(String(error))) throw error;
  });
  return host;
}

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "tsbuild-registry-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function roundTrip(host: string, options: Partial<RegistryOptions>): Promise<void> {
  await using registry = client(options);
  const layer = randomBlob(3_000_000);
  const config = configBlob({ os: "linux", architecture: "amd64" });
  const bytes = manifestOf(config.blob, [layer.blob]);
  const target = at(host, "org/app:1");
  const other = at(host, "org/other:1");
  await registry.checkPush(target, call());
  const push = (to: typeof target, from?: typeof target): Promise<string> =>
    registry.pushBlob(
      to,
      layer.blob,
      { open: sourceOf(layer.bytes), ...(from === undefined ? {} : { from }) },
      call(),
    );
  expect(await push(target)).toBe("uploaded");
  expect(await push(target)).toBe("exists");
  expect(await push(other, target)).toBe("mounted");
  await registry.pushBlob(target, config.blob, { open: sourceOf(config.bytes) }, call());
  const digest = await registry.pushManifest(target, bytes, OCI_MANIFEST, call());
  const pulled = await registry.resolve(target, { os: "linux", architecture: "amd64" }, call());
  expect(pulled.descriptor).toEqual({ mediaType: OCI_MANIFEST, digest, size: bytes.length });
  expect(Buffer.from(pulled.bytes).toString()).toBe(bytes.toString());
  const blob = await collect(registry.blob(target, layer.blob, call()));
  expect(blob.equals(layer.bytes)).toBe(true);
}

describe.skipIf(missing.length > 0)("docker's own registry", () => {
  test("an image makes the round trip over plain HTTP without a flag, since the host is loopback", async () => {
    const host = await startRegistry(await temporary(), {}, {});
    await roundTrip(host, {});
  });

  test("a user and a password of an htpasswd file are sent when the registry asks for them", async () => {
    const directory = await temporary();
    const { stdout } = await run("htpasswd", ["-Bbn", "alice", "s3cret"]);
    const file = join(directory, "htpasswd");
    await writeFile(file, stdout);
    const auth = { htpasswd: { realm: "test", path: file } };
    const host = await startRegistry(directory, { auth }, {});
    await roundTrip(host, { keychain: basic("alice", "s3cret") });
    await using wrong = client({ keychain: basic("alice", "wr0ng", "auths of the test") });
    await expect(wrong.checkPush(at(host, "org/app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_DENIED",
      message: expect.stringMatching(/org\/app.*401.*the credential of auths of the test/),
    });
  });

  test("a registry with a private authority is trusted through SSL_CERT_FILE, and refused without", async () => {
    const directory = await temporary();
    const authority = await makeAuthority(directory);
    const issued = await authority.issue("registry", "IP:127.0.0.1");
    const tls = { certificate: issued.certificateFile, key: issued.keyFile };
    const host = await startRegistry(directory, {}, { tls });
    await roundTrip(host, { http: { certificateFile: authority.certificateFile } });
    await using stranger = client();
    await expect(stranger.checkPush(at(host, "org/app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      hint: expect.stringContaining("SSL_CERT_FILE"),
    });
  });
});
