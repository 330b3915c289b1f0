import { describe, expect, test } from "vitest";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import { parseReference } from "../../src/oci/reference.js";
import { pullEndpoints, pushEndpoint } from "../../src/registry/endpoint.js";
import type { RegistryOptions } from "../../src/registry/types.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import {
  anonymous,
  at,
  call,
  client,
  collect,
  configBlob,
  manifestOf,
  randomBlob,
} from "./images.js";

const OPTIONS: RegistryOptions = {
  insecureRegistries: new Set(),
  insecurePush: false,
  insecurePull: false,
  skipTlsVerify: false,
  skipTlsVerifyRegistries: new Set(),
  registryMap: new Map(),
  userAgent: "test",
  keychain: anonymous,
  http: {},
};
const layer = randomBlob(100_000);
const manifest = manifestOf(configBlob({ os: "linux", architecture: "amd64" }).blob, [layer.blob]);

describe("where a repository is", () => {
  test("Docker Hub is spoken to at registry-1.docker.io and named index.docker.io", () => {
    expect(pushEndpoint(OPTIONS, parseReference("debian"))).toMatchObject({
      registry: "index.docker.io",
      repository: "library/debian",
      host: "registry-1.docker.io",
      plainAllowed: false,
    });
  });

  test.each([
    "localhost:5000",
    "127.0.0.1:5000",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "nas.local",
  ])("%s may be spoken to in plain HTTP without a flag", (host) => {
    expect(pushEndpoint(OPTIONS, parseReference(`${host}/a`)).plainAllowed).toBe(true);
  });

  test.each(["ghcr.io", "172.32.0.1", "11.0.0.1", "10.example.com", "127.0.0.1.example.com:80"])(
    "%s may not",
    (host) => {
      expect(pushEndpoint(OPTIONS, parseReference(`${host}/a`)).plainAllowed).toBe(false);
    },
  );

  test("flags for plain HTTP and for certificates fit exact hosts and one direction", () => {
    const options: RegistryOptions = {
      ...OPTIONS,
      insecureRegistries: new Set(["a.example:5000", "docker.io"]),
      skipTlsVerifyRegistries: new Set(["b.example"]),
    };
    const push = (name: string, more: Partial<RegistryOptions> = {}): readonly unknown[] => {
      const found = pushEndpoint({ ...options, ...more }, parseReference(name));
      return [found.plainAllowed, found.trust.skipVerify];
    };
    expect(push("a.example:5000/x")).toEqual([true, false]);
    expect(push("a.example/x")).toEqual([false, false]);
    expect(push("b.example/x")).toEqual([false, true]);
    expect(push("debian")).toEqual([true, false]);
    expect(push("c.example/x", { insecurePull: true })).toEqual([false, false]);
    expect(push("c.example/x", { insecurePush: true })).toEqual([true, false]);
    const pull = pullEndpoints({ ...options, insecurePull: true }, parseReference("c.example/x"));
    expect(pull[0].plainAllowed).toBe(true);
  });

  test("mirrors come first, with their prefix and their own settings; the registry comes last", () => {
    const options: RegistryOptions = {
      ...OPTIONS,
      registryMap: new Map([["index.docker.io", ["mirror.example/hub/cache", "10.0.0.1:5000"]]]),
    };
    const shown = (more: Partial<RegistryOptions>): readonly string[] =>
      pullEndpoints({ ...options, ...more }, parseReference("debian:12")).map(
        ({ host, repository, plainAllowed }) => `${host} ${repository} ${plainAllowed}`,
      );
    const mirrors = [
      "mirror.example hub/cache/library/debian false",
      "10.0.0.1:5000 library/debian true",
    ];
    expect(shown({})).toEqual([...mirrors, "registry-1.docker.io library/debian false"]);
    expect(shown({ skipDefaultRegistryFallback: true })).toEqual(mirrors);
    expect(pushEndpoint(options, parseReference("debian")).host).toBe("registry-1.docker.io");
  });
});

describe("mirrors", () => {
  test("a mirror that lacks the image is passed over, and the one that has it serves the blobs", async () => {
    await using empty = await startMemoryRegistry();
    await using full = await startMemoryRegistry();
    full.addManifest("cache/org/app", "1", manifest, OCI_MANIFEST);
    full.addBlob("cache/org/app", layer.bytes);
    await using registry = client({
      registryMap: new Map([["registry.invalid", [empty.host, `${full.host}/cache`]]]),
    });
    const reference = at("registry.invalid", "org/app:1");
    const found = await registry.manifest(reference, call());
    expect(found.bytes.length).toBe(manifest.length);
    const before = empty.requests.length;
    const bytes = await collect(registry.blob(reference, layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
    expect(empty.requests.length).toBe(before);
  });

  test("a mirror that dies in the middle of a blob is followed by the next, from where it stopped", async () => {
    await using dying = await startMemoryRegistry();
    await using full = await startMemoryRegistry();
    dying.addBlob("org/app", layer.bytes);
    full.addBlob("org/app", layer.bytes);
    dying.fail({ path: /blobs/, kind: "drop-response", afterBytes: 40_000 });
    dying.fail({ path: /blobs/, kind: "status", status: 404, times: 9 });
    await using registry = client({
      registryMap: new Map([["registry.invalid", [dying.host, full.host]]]),
    });
    const reference = at("registry.invalid", "org/app:1");
    const bytes = await collect(registry.blob(reference, layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
    expect(full.requests.at(-1)?.headers["range"]).toBe("bytes=40000-");
  });

  test("when all fail, each is named with its reason", async () => {
    await using empty = await startMemoryRegistry();
    await using registry = client({
      registryMap: new Map([["registry.invalid", [empty.host, "127.0.0.1:1"]]]),
      skipDefaultRegistryFallback: true,
      retry: { attempts: 1 },
    });
    await expect(
      registry.manifest(at("registry.invalid", "org/app:1"), call()),
    ).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringMatching(
        /all 2 registries failed: .*404.*127\.0\.0\.1:1.*ECONNREFUSED/,
      ),
    });
  });
});
