import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/build/options.js";
import { openRegistry } from "../../src/build/registry.js";
import type { HttpClient, HttpTrust } from "../../src/internal/http.js";
import { DEFAULT_RETRY } from "../../src/internal/retry.js";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import { fetchToken } from "../../src/registry/tokens.js";
import type { Registry } from "../../src/registry/types.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { type Authority, type Issued, makeAuthority } from "../support/tls.js";
import { at, call, configBlob, manifestOf, randomBlob, sourceOf } from "./images.js";

const layer = randomBlob(5_000);
const config = configBlob({ os: "linux", architecture: "amd64" });
const manifest = manifestOf(config.blob, [layer.blob]);

let root = "";
let own: RegistryService;
let other: RegistryService;
let mutual: RegistryService;
let people: Authority;
let alice: Issued;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-trust-"));
  people = await makeAuthority(join(root, "people"), "people");
  alice = await people.issue("alice", "DNS:alice");
  [own, other, mutual] = await Promise.all([
    startRegistry({ tls: true }),
    startRegistry({ tls: true }),
    startRegistry({ tls: true, clientAuthority: people.certificateFile }),
  ]);
});
afterAll(async () => {
  for (const one of [own, other, mutual]) await one?.[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

function registryOf(options: Omit<BuildOptions, "context">): Registry {
  return openRegistry({ context: ".", environment: {}, ...options });
}

function caOf({ caFile }: RegistryService): string {
  if (caFile === undefined) throw new Error("a registry without TLS");
  return caFile;
}

async function pushImage(registry: Registry, host: string): Promise<void> {
  const target = at(host, "app:1");
  for (const { bytes, blob } of [layer, config]) {
    await registry.pushBlob(target, blob, { open: sourceOf(bytes) }, call());
  }
  await registry.pushManifest(target, manifest, OCI_MANIFEST, call());
}

describe("authorities of one registry", () => {
  test("are believed of it, besides all others, and of no other registry", async () => {
    const registryCertificates = { [own.host]: [alice.certificateFile, caOf(own)] };
    await using registry = registryOf({ registryCertificates });
    await pushImage(registry, own.host);
    const pulled = await registry.manifest(at(own.host, "app:1"), call());
    expect(manifest.equals(pulled.bytes)).toBe(true);
    await expect(registry.checkPush(at(other.host, "app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining("UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
      hint: expect.stringContaining(`--registry-certificate=${other.host}=FILE`),
    });
    const registries = { [own.host]: caOf(own), [other.host]: caOf(other) };
    await using both = registryOf({ registryCertificates: registries });
    await both.checkPush(at(own.host, "app:1"), call());
    await both.checkPush(at(other.host, "app:1"), call());
  });

  test("count for the host that is mapped to, not for the one that is mapped", async () => {
    const registryMap = [`registry.invalid=${own.host}`];
    const skip = { registryMap, skipDefaultRegistryFallback: true };
    await using registry = registryOf({ registryCertificates: { [own.host]: caOf(own) } });
    await pushImage(registry, own.host);
    const reference = at("registry.invalid", "app:1");
    await using mapped = registryOf({ ...skip, registryCertificates: { [own.host]: caOf(own) } });
    expect((await mapped.manifest(reference, call())).bytes.length).toBe(manifest.length);
    await using wrong = registryOf({
      ...skip,
      registryCertificates: { "registry.invalid": caOf(own) },
    });
    await expect(wrong.manifest(reference, call())).rejects.toThrow(`cannot reach ${own.host}`);
  });
});

describe("a client's certificate", () => {
  test("opens the registry that it is for, and is shown to no other", async () => {
    const { certificateFile, keyFile } = alice;
    const registryCertificates = { [mutual.host]: caOf(mutual), [own.host]: caOf(own) };
    const client = { certificateFile, keyFile };
    await using registry = registryOf({
      registryCertificates,
      registryClientCertificates: { [mutual.host]: client },
    });
    await pushImage(registry, mutual.host);
    expect((await registry.manifest(at(mutual.host, "app:1"), call())).bytes.length).toBe(
      manifest.length,
    );
    await using elsewhere = registryOf({
      registryCertificates,
      registryClientCertificates: { [own.host]: client },
    });
    await elsewhere.checkPush(at(own.host, "app:1"), call());
    const hint = expect.stringContaining(`--registry-client-cert=${mutual.host}=CERT,KEY`);
    const refused = { code: "REGISTRY_UNAVAILABLE", hint };
    await expect(elsewhere.checkPush(at(mutual.host, "app:1"), call())).rejects.toMatchObject(
      refused,
    );
    const stranger = await (await makeAuthority(join(root, "others"))).issue("eve", "DNS:eve");
    await using wrong = registryOf({
      registryCertificates,
      registryClientCertificates: { [mutual.host]: stranger },
    });
    await expect(wrong.checkPush(at(mutual.host, "app:1"), call())).rejects.toMatchObject(refused);
  });
});

describe("a token server", () => {
  const [trusted, mine, theirs] = [
    { certificateFile: "a.pem", keyFile: "a.key" },
    { certificateFile: "mine.pem", keyFile: "mine.key" },
    { certificateFile: "theirs.pem", keyFile: "theirs.key" },
  ];
  const trustAt = async (realm: string): Promise<HttpTrust | undefined> => {
    const seen: (HttpTrust | undefined)[] = [];
    const unused = (): never => {
      throw new Error("not to be called");
    };
    const http: HttpClient = {
      request: (_url, { trust }) => {
        seen.push(trust);
        return Promise.reject(new Error("seen enough"));
      },
      shakeHands: unused,
      certificateProblems: () => Promise.resolve([]),
      [Symbol.asyncDispose]: unused,
    };
    const asked = fetchToken(http, DEFAULT_RETRY, {
      endpoint: {
        registry: "a.example:5000",
        repository: "app",
        host: "a.example:5000",
        plainAllowed: false,
        trust: { certificateFiles: [trusted.certificateFile], client: mine },
      },
      isSecure: true,
      challenge: { scheme: "bearer", parameters: { realm } },
      scopes: [],
      credential: undefined,
      clientFor: (host) => (host === "b.example" ? theirs : undefined),
      userAgent: "test",
      signal: new AbortController().signal,
    });
    await expect(asked).rejects.toThrow("seen enough");
    return seen[0];
  };

  test("is believed by the registry's authorities, and shown a certificate that is for it alone", async () => {
    const certificateFiles = ["a.pem"];
    expect(await trustAt("https://a.example:5000/t")).toEqual({ certificateFiles, client: mine });
    expect(await trustAt("https://a.example/t")).toEqual({ certificateFiles });
    expect(await trustAt("https://b.example/t")).toEqual({ certificateFiles, client: theirs });
  });
});

describe("--skip-tls-verify-pull", () => {
  test("pulls from a registry that nobody vouches for, and pushes nothing to it", async () => {
    await using trusting = registryOf({ skipTlsVerify: true });
    await pushImage(trusting, own.host);
    await using registry = registryOf({ skipTlsVerifyPull: true });
    const reference = at(own.host, "app:1");
    expect((await registry.manifest(reference, call())).bytes.length).toBe(manifest.length);
    await expect(registry.checkPush(reference, call())).rejects.toThrow(
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    );
    await expect(registry.find(reference, call())).rejects.toThrow(/certificate/);
  });
});

describe("a file that is not what it is given for is said before anything is asked", () => {
  const refused = (options: Omit<BuildOptions, "context">, message: string): void => {
    expect(() => registryOf(options)).toThrow(
      expect.objectContaining({ code: "USAGE", message: expect.stringContaining(message) }),
    );
  };

  test("authorities", async () => {
    const empty = join(root, "empty.pem");
    await writeFile(empty, "nothing\n");
    refused({ registryCertificates: { a: empty } }, `${empty} holds no certificate`);
    const damaged = join(root, "damaged.pem");
    await writeFile(damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    refused({ registryCertificates: { a: damaged } }, `${damaged} holds a damaged certificate`);
    const missing = join(root, "missing.pem");
    refused({ registryCertificates: { a: missing } }, `${missing} cannot be read (ENOENT)`);
    refused({ registryCertificates: { "a/b": empty } }, '"a/b" is not a registry');
  });

  test("a client's certificate and key", async () => {
    const bob = await people.issue("bob", "DNS:bob");
    const client = (certificateFile: string, keyFile: string): Omit<BuildOptions, "context"> => ({
      registryClientCertificates: { a: { certificateFile, keyFile } },
    });
    refused(
      client(alice.certificateFile, bob.keyFile),
      `${bob.keyFile} is not the key of ${alice.certificateFile}`,
    );
    refused(
      client(alice.certificateFile, alice.certificateFile),
      `${alice.certificateFile} holds none`,
    );
    refused(client(alice.keyFile, alice.keyFile), `${alice.keyFile} holds no certificate`);
  });
});

describe("--skip-default-registry-fallback", () => {
  const registryMap = ["registry.invalid=127.0.0.1:1/cache", "registry.invalid=127.0.0.1:2"];
  const reference = at("registry.invalid", "app:1");
  const failure = async (skipDefaultRegistryFallback: boolean): Promise<string> => {
    await using registry = registryOf({ registryMap, skipDefaultRegistryFallback });
    const call = { signal: new AbortController().signal, isOptional: true };
    return String(await registry.manifest(reference, call).catch((error: unknown) => error));
  };

  test("names every mirror that was tried, and asks the registry itself no more", async () => {
    const text = await failure(true);
    expect(text).toContain("all 2 registries failed");
    expect(text).toMatch(/from 127\.0\.0\.1:1: .*from 127\.0\.0\.1:2: /);
    expect(text).not.toContain("registry.invalid:443");
    expect(await failure(false)).toContain("registry.invalid:443");
  });
});
