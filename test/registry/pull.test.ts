import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.js";
import {
  DOCKER_INDEX,
  DOCKER_MANIFEST,
  OCI_INDEX,
  OCI_MANIFEST,
} from "../../src/oci/media-types.js";
import { parsePlatform } from "../../src/oci/platform.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import {
  at,
  call,
  client,
  collect,
  configBlob,
  indexOf,
  manifestOf,
  randomBlob,
} from "./images.js";

const layer = randomBlob(300_000);
const amd64 = manifestOf(configBlob({ os: "linux", architecture: "amd64" }).blob, [layer.blob]);
const armv6 = manifestOf(configBlob({ os: "linux", architecture: "arm" }).blob, [layer.blob]);
const PLATFORM = parsePlatform("linux/amd64");

describe("manifests", () => {
  test("a tag, a digest and no tag at all name the same bytes, kept exactly", async () => {
    await using server = await startMemoryRegistry();
    const odd = Buffer.from(`${amd64.toString().replace("{", "{ \n")}\n\n`);
    const digest = server.addManifest("a/b", "latest", odd, OCI_MANIFEST);
    await using registry = client();
    for (const name of ["a/b:latest", "a/b", `a/b@${digest}`, `a/b:other@${digest}`]) {
      const { descriptor, bytes } = await registry.manifest(at(server.host, name), call());
      expect(descriptor).toEqual({ mediaType: OCI_MANIFEST, digest, size: odd.length });
      expect(Buffer.from(bytes).toString()).toBe(odd.toString());
    }
  });

  test.each([
    ["OCI", OCI_INDEX],
    ["Docker", DOCKER_INDEX],
  ])("an %s index leads to the best entry for a platform", async (_, type) => {
    await using server = await startMemoryRegistry();
    const entries = [
      { bytes: armv6, platform: { os: "linux", architecture: "arm", variant: "v6" } },
      { bytes: amd64, platform: { os: "linux", architecture: "amd64" } },
    ];
    for (const { bytes } of entries)
      server.addManifest("app", digestOf(bytes), bytes, OCI_MANIFEST);
    server.addManifest("app", "1", indexOf(entries, type), type);
    await using registry = client();
    const resolve = async (platform: string): Promise<string> =>
      (await registry.resolve(at(server.host, "app:1"), parsePlatform(platform), call())).descriptor
        .digest;
    expect(await resolve("linux/amd64")).toBe(digestOf(amd64));
    expect(await resolve("linux/arm/v7")).toBe(digestOf(armv6));
    await expect(resolve("linux/s390x")).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining("no image for linux/s390x"),
      hint: "it has linux/arm/v6, linux/amd64",
    });
  });

  test("an index in an index is followed, one without an end is not", async () => {
    await using server = await startMemoryRegistry();
    server.addManifest("app", "x", amd64, OCI_MANIFEST);
    let inner = indexOf([{ bytes: amd64, platform: { os: "linux", architecture: "amd64" } }]);
    server.addManifest("app", "depth1", inner, OCI_INDEX);
    for (let depth = 2; depth <= 6; depth++) {
      const entry = { mediaType: OCI_INDEX, digest: digestOf(inner), size: inner.length };
      inner = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
      server.addManifest("app", `depth${depth}`, inner, OCI_INDEX);
    }
    await using registry = client();
    const resolved = await registry.resolve(at(server.host, "app:depth3"), PLATFORM, call());
    expect(resolved.descriptor.digest).toBe(digestOf(amd64));
    await expect(registry.resolve(at(server.host, "app:depth6"), PLATFORM, call())).rejects.toThrow(
      "nested too deeply",
    );
  });

  test("a manifest sent as application/json is known by its shape", async () => {
    await using server = await startMemoryRegistry();
    const { mediaType: _, ...rest } = JSON.parse(amd64.toString());
    server.addManifest("app", "1", Buffer.from(JSON.stringify(rest)), "application/json");
    const docker = Buffer.from(JSON.stringify({ ...rest, mediaType: DOCKER_MANIFEST }));
    server.addManifest("app", "2", docker, "application/json; charset=utf-8");
    await using registry = client();
    const type = async (tag: string): Promise<string> =>
      (await registry.manifest(at(server.host, `app:${tag}`), call())).descriptor.mediaType;
    expect(await type("1")).toBe(OCI_MANIFEST);
    expect(await type("2")).toBe(DOCKER_MANIFEST);
  });

  test("a schema 1 image is refused by name", async () => {
    await using server = await startMemoryRegistry();
    const old = Buffer.from(JSON.stringify({ schemaVersion: 1, name: "app", fsLayers: [] }));
    server.addManifest(
      "app",
      "1",
      old,
      "application/vnd.docker.distribution.manifest.v1+prettyjws",
    );
    await using registry = client();
    await expect(registry.manifest(at(server.host, "app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining("schema 1"),
    });
  });

  test("an unknown tag says which repository lacks which tag", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    await expect(registry.manifest(at(server.host, "org/app:nope"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      status: 404,
      message: `tried to pull ${server.host}/org/app:nope: ${server.host}/org/app has no tag "nope" (404)`,
    });
  });

  test("bytes that differ from Docker-Content-Digest, or from the digest asked for, are corrupt", async () => {
    await using server = await startMemoryRegistry();
    const digest = server.addManifest("app", "1", amd64, OCI_MANIFEST);
    await using registry = client();
    for (const name of ["app:1", `app@${digest}`]) {
      server.fail({ method: "GET", path: /manifests/, kind: "corrupt" });
      await expect(registry.manifest(at(server.host, name), call())).rejects.toThrow("corrupt");
    }
  });

  test("a manifest whose connection breaks is asked for again", async () => {
    await using server = await startMemoryRegistry();
    server.addManifest("app", "1", amd64, OCI_MANIFEST);
    server.fail({ path: /manifests/, kind: "drop-response", afterBytes: 10, times: 2 });
    await using registry = client();
    const { bytes } = await registry.manifest(at(server.host, "app:1"), call());
    expect(bytes.length).toBe(amd64.length);
    expect(server.count("GET", /manifests/)).toBe(3);
  });
});

describe("blobs", () => {
  test("a broken connection is resumed where it stopped, and every byte counted once is verified", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    server.fail({ path: /blobs/, kind: "drop-response", afterBytes: 100_000, times: 2 });
    let counted = 0;
    await using registry = client();
    const bytes = registry.blob(at(server.host, "app:1"), layer.blob, {
      ...call(),
      onBytes: (count) => (counted += count),
    });
    expect((await collect(bytes)).equals(layer.bytes)).toBe(true);
    expect(counted).toBe(layer.bytes.length);
    const ranges = server.requests.filter(({ url }) => url.includes("/blobs/"));
    expect(ranges.map(({ headers }) => headers["range"])).toEqual([
      undefined,
      "bytes=100000-",
      "bytes=200000-",
    ]);
  });

  test("a server that ignores ranges sends all again, and the known part is skipped", async () => {
    await using server = await startMemoryRegistry({ ranges: false });
    server.addBlob("app", layer.bytes);
    server.fail({ path: /blobs/, kind: "drop-response", afterBytes: 123_457 });
    await using registry = client();
    const bytes = await collect(registry.blob(at(server.host, "app:1"), layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
  });

  test("an answer that ends too early without an error is resumed too", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    server.fail({ path: /blobs/, kind: "truncate", afterBytes: 5 });
    await using registry = client();
    const bytes = await collect(registry.blob(at(server.host, "app:1"), layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
  });

  test("a blob that never comes whole fails after the last try, naming it", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    server.fail({ path: /blobs/, kind: "truncate", afterBytes: 0, times: 100 });
    await using registry = client({ retry: { attempts: 3, firstDelayMs: 1 } });
    await expect(
      collect(registry.blob(at(server.host, "app:1"), layer.blob, call())),
    ).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining(`${layer.blob.digest} of ${server.host}/app`),
    });
    expect(server.count("GET", /blobs/)).toBe(3);
  });

  test("a stalled answer counts as a broken connection", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    server.fail({ path: /blobs/, kind: "stall", afterBytes: 1000 });
    await using registry = client({ timeouts: { stallMs: 1_000 } });
    const bytes = await collect(registry.blob(at(server.host, "app:1"), layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
  });

  test("a reader that is slower than the stall timer loses nothing", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    await using registry = client({ timeouts: { stallMs: 2_000 } });
    let size = 0;
    for await (const chunk of registry.blob(at(server.host, "app:1"), layer.blob, call())) {
      if (size === 0) await new Promise((resolve) => setTimeout(resolve, 4_000));
      size += chunk.length;
    }
    expect(size).toBe(layer.bytes.length);
    expect(server.count("GET", /blobs/)).toBe(1);
  });

  test("a flipped bit is found at the end, a longer blob before anything is read", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    await using registry = client();
    const reference = at(server.host, "app:1");
    server.fail({ path: /blobs/, kind: "corrupt" });
    await expect(collect(registry.blob(reference, layer.blob, call()))).rejects.toThrow("corrupt");
    const shorter = { ...layer.blob, size: layer.blob.size - 1 };
    await expect(collect(registry.blob(reference, shorter, call()))).rejects.toThrow(
      `${layer.blob.size} bytes or more, expected ${shorter.size}`,
    );
  });

  test("a redirect to another host is followed without the credential", async () => {
    await using storage = await startMemoryRegistry();
    await using server = await startMemoryRegistry({
      redirectBlobsTo: storage.origin,
      auth: { kind: "basic", username: "u", password: "p" },
    });
    server.addBlob("app", layer.bytes);
    storage.addBlob("app", layer.bytes);
    storage.fail({ path: /blobs/, kind: "drop-response", afterBytes: 1000 });
    await using registry = client({
      keychain: async () => ({
        secret: { kind: "basic", username: "u", password: "p" },
        source: "the test",
      }),
    });
    const bytes = await collect(registry.blob(at(server.host, "app:1"), layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
    expect(storage.requests.length).toBe(2);
    expect(storage.requests.map(({ headers }) => headers["authorization"])).toEqual([
      undefined,
      undefined,
    ]);
    expect(server.requests.at(-1)?.headers["authorization"]).toBeDefined();
  });

  test("a foreign layer that the registry lacks is read from its urls, without the credential", async () => {
    await using elsewhere = await startMemoryRegistry();
    await using server = await startMemoryRegistry();
    elsewhere.addBlob("app", layer.bytes);
    const url = `${elsewhere.origin}/v2/app/blobs/${layer.blob.digest}`;
    await using registry = client({
      keychain: async () => ({ secret: { kind: "bearer", token: "secret" }, source: "the test" }),
    });
    const blob = { ...layer.blob, urls: ["ftp://nowhere/x", url] };
    const bytes = await collect(registry.blob(at(server.host, "app:1"), blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
    expect(elsewhere.requests.at(-1)?.headers["authorization"]).toBeUndefined();
  });

  test("an abort ends a blob at once, with the signal's reason", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    server.fail({ path: /blobs/, kind: "stall", afterBytes: 1000 });
    // Nothing but the abort ends the wait.
    await using registry = client({ timeouts: { stallMs: 3_600_000 } });
    const controller = new AbortController();
    const reading = collect(
      registry.blob(at(server.host, "app:1"), layer.blob, call(controller.signal)),
    );
    setTimeout(() => controller.abort(new Error("enough")), 100);
    await expect(reading).rejects.toThrow("enough");
  });
});

describe("retries", () => {
  test("429 and 5xx are tried again, and Retry-After is waited for", async () => {
    await using server = await startMemoryRegistry();
    server.addManifest("app", "1", amd64, OCI_MANIFEST);
    server.fail({ path: /manifests/, kind: "status", status: 500, times: 2 });
    server.fail({
      path: /manifests/,
      kind: "status",
      status: 429,
      headers: { "retry-after": "1" },
    });
    await using registry = client();
    const started = Date.now();
    await registry.manifest(at(server.host, "app:1"), call());
    expect(Date.now() - started).toBeGreaterThanOrEqual(990);
    expect(server.count("GET", /manifests/)).toBe(4);
  });

  test("a limit that lasts for hours fails at once and says so", async () => {
    await using server = await startMemoryRegistry();
    const headers = { "retry-after": "21600", "content-type": "application/json" };
    const body = JSON.stringify({
      errors: [{ code: "TOOMANYREQUESTS", message: "pull rate limit" }],
    });
    server.fail({ path: /manifests/, kind: "status", status: 429, headers, body });
    await using registry = client();
    await expect(registry.manifest(at(server.host, "app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining("429 TOOMANYREQUESTS: pull rate limit"),
      hint: expect.stringContaining("log in"),
    });
  });

  test("the last error is told when the registry never recovers", async () => {
    await using server = await startMemoryRegistry();
    server.fail({ path: /manifests/, kind: "status", status: 503, times: 99, body: "<html>" });
    await using registry = client();
    await expect(registry.manifest(at(server.host, "app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      status: 503,
    });
    expect(server.count("GET", /manifests/)).toBe(5);
  });
});
