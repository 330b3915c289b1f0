import { describe, expect, test } from "vitest";
import { registrySettings } from "../../src/build/registry.js";
import { DEFAULT_RETRY } from "../../src/internal/retry.js";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import type { RegistryOptions } from "../../src/registry/types.js";
import { type Fault, startMemoryRegistry } from "../support/memory-registry.js";
import {
  at,
  call,
  client,
  collect,
  configBlob,
  manifestOf,
  randomBlob,
  sourceOf,
} from "./images.js";

const layer = randomBlob(50_000);
const manifest = manifestOf(configBlob({ os: "linux", architecture: "amd64" }).blob, [layer.blob]);
const PATIENT = { attempts: 9 };
const QUICK = { attempts: 1 };
const once = { firstDelayMs: 1, maxDelayMs: 2 };

function failing(path: RegExp, method: string): Fault {
  return { kind: "status", status: 503, times: 8, path, method };
}

function retrying(which: keyof NonNullable<RegistryOptions["retryOf"]>): Partial<RegistryOptions> {
  return { retry: { ...QUICK, ...once }, retryOf: { [which]: PATIENT } };
}

describe("what is tried more often", () => {
  test("uploads and the manifests that are pushed", async () => {
    await using server = await startMemoryRegistry();
    server.fail(failing(/blobs\/uploads/, "POST"));
    server.fail(failing(/manifests/, "PUT"));
    const target = at(server.host, "app:1");
    const source = { open: sourceOf(layer.bytes) };
    await using registry = client(retrying("push"));
    expect(await registry.pushBlob(target, layer.blob, source, call())).toBe("uploaded");
    await registry.pushManifest(target, manifest, OCI_MANIFEST, call());
    expect(server.count("PUT", /manifests/)).toBe(9);
  });

  test("manifests that are pulled, and nothing else", async () => {
    await using server = await startMemoryRegistry();
    server.addManifest("app", "1", manifest, OCI_MANIFEST);
    server.fail(failing(/manifests/, "GET"));
    await using registry = client(retrying("manifest"));
    const target = at(server.host, "app:1");
    expect((await registry.manifest(target, call())).bytes.length).toBe(manifest.length);
    server.addBlob("app", layer.bytes);
    server.fail(failing(/blobs/, "GET"));
    await expect(collect(registry.blob(target, layer.blob, call()))).rejects.toThrow("503");
    expect(server.count("GET", /blobs/)).toBe(1);
  });

  test("blobs that are pulled, from where they broke off", async () => {
    await using server = await startMemoryRegistry();
    server.addBlob("app", layer.bytes);
    server.fail({ kind: "drop-response", afterBytes: 20_000, path: /blobs/ });
    server.fail(failing(/blobs/, "GET"));
    await using registry = client(retrying("blob"));
    const bytes = await collect(registry.blob(at(server.host, "app:1"), layer.blob, call()));
    expect(bytes.equals(layer.bytes)).toBe(true);
    expect(server.requests.at(-1)?.headers["range"]).toBe("bytes=20000-");
  });
});

describe("the options of a build", () => {
  const retryOf = (options: object): RegistryOptions["retryOf"] =>
    registrySettings({ context: ".", ...options }).retryOf;

  test("raise the tries of their own kind, and wait as long as Kaniko between them", () => {
    const patient = { attempts: 8, firstDelayMs: 2_000, maxDelayMs: 60_000 };
    expect(retryOf({})).toEqual({ push: {}, manifest: {}, blob: {} });
    expect(retryOf({ pushRetry: 7 })).toEqual({ push: patient, manifest: {}, blob: {} });
    expect(retryOf({ imageDownloadRetry: 7 })?.manifest).toEqual(patient);
    expect(retryOf({ imageFsExtractRetry: 7 })?.blob).toEqual(patient);
  });

  test("never lower them", () => {
    expect(retryOf({ pushRetry: 1 })?.push?.attempts).toBe(DEFAULT_RETRY.attempts);
    expect(retryOf({ pushRetry: 0 })?.push).toEqual({});
  });

  test.each([-1, 1.5, Number.NaN, 100_000])("%d is refused", (pushRetry) => {
    expect(() => retryOf({ pushRetry })).toThrow(
      expect.objectContaining({ code: "USAGE", message: `pushRetry cannot be ${pushRetry}` }),
    );
  });
});
