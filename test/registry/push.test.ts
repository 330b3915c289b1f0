import { createServer } from "node:http";
import { describe, expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { digestOf } from "../../src/oci/digest.js";
import { DOCKER_MANIFEST, OCI_MANIFEST } from "../../src/oci/media-types.js";
import { isImmutableTagError } from "../../src/registry/index.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import { at, call, client, configBlob, manifestOf, randomBlob, sourceOf } from "./images.js";

const layer = randomBlob(400_000);
const manifest = manifestOf(configBlob({ os: "linux", architecture: "amd64" }).blob, [layer.blob]);
const source = { open: sourceOf(layer.bytes) };

describe("blobs", () => {
  test.each(["relative", "absolute", "query"] as const)(
    "an upload goes to a %s Location, and the blob is there afterwards",
    async (location) => {
      await using server = await startMemoryRegistry({ location });
      await using registry = client();
      const target = at(server.host, "org/app:1");
      expect(await registry.pushBlob(target, layer.blob, source, call())).toBe("uploaded");
      const stored = server.blobs.get("org/app")?.get(layer.blob.digest);
      expect(stored?.equals(layer.bytes)).toBe(true);
      if (location === "query") expect(server.requests.at(-1)?.url).toContain("_state=a%2Bb%3D");
      expect(await registry.pushBlob(target, layer.blob, source, call())).toBe("exists");
    },
  );

  test("many blobs in a row share one connection", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    const target = at(server.host, "org/app:1");
    await registry.checkPush(target, call());
    const before = server.connections;
    for (let count = 0; count < 10; count++) {
      const { bytes, blob } = randomBlob(200_000);
      await registry.pushBlob(target, blob, { open: sourceOf(bytes) }, call());
      await registry.pushBlob(target, blob, { open: sourceOf(bytes) }, call());
    }
    expect(server.connections - before).toBeLessThanOrEqual(1);
  });

  test("an empty blob and one that comes in one chunk go up whole", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    for (const bytes of [Buffer.alloc(0), Buffer.from("x")]) {
      const blob = { mediaType: "x/y", digest: digestOf(bytes), size: bytes.length };
      await registry.pushBlob(at(server.host, "app:1"), blob, { open: sourceOf(bytes) }, call());
      expect(server.blobs.get("app")?.get(blob.digest)?.equals(bytes)).toBe(true);
    }
  });

  test("a connection that is cut midway leads to a new upload from a newly opened source", async () => {
    await using server = await startMemoryRegistry();
    server.fail({ method: "PUT", kind: "drop-request", afterBytes: 100_000, times: 2 });
    await using registry = client();
    let opened = 0;
    const open = (): AsyncIterable<Uint8Array> => {
      opened++;
      return source.open();
    };
    const target = at(server.host, "app:1");
    expect(await registry.pushBlob(target, layer.blob, { open }, call())).toBe("uploaded");
    expect(opened).toBe(3);
    expect(server.blobs.get("app")?.get(layer.blob.digest)?.equals(layer.bytes)).toBe(true);
  });

  test("429 and 500 at any step of an upload are overcome", async () => {
    await using server = await startMemoryRegistry();
    server.fail({ method: "HEAD", kind: "status", status: 502 });
    server.fail({ method: "POST", kind: "status", status: 429, headers: { "retry-after": "0" } });
    server.fail({ method: "PUT", kind: "status", status: 500 });
    await using registry = client();
    expect(await registry.pushBlob(at(server.host, "app:1"), layer.blob, source, call())).toBe(
      "uploaded",
    );
  });

  test("an upload is told by its bytes, sent once they have gone out", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    let counted = 0;
    const counting = { ...call(), onBytes: (bytes: number) => (counted += bytes) };
    await registry.pushBlob(at(server.host, "app:1"), layer.blob, source, counting);
    expect(counted).toBe(layer.blob.size);
  });

  test("a source that fails, or is shorter than it said, fails the push with its own reason", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    const target = at(server.host, "app:1");
    const failing = async function* (): AsyncIterable<Uint8Array> {
      yield layer.bytes.subarray(0, 1000);
      yield layer.bytes.subarray(1000, 2000);
      throw new TsbuildError("STORE_FAILED", "tried to read a layer: it is damaged");
    };
    await expect(
      registry.pushBlob(target, layer.blob, { open: failing }, call()),
    ).rejects.toMatchObject({ code: "STORE_FAILED", message: expect.stringContaining("damaged") });
    const short = sourceOf(layer.bytes.subarray(0, 99_999));
    await expect(
      registry.pushBlob(target, layer.blob, { open: short }, call()),
    ).rejects.toMatchObject({
      code: "STORE_FAILED",
      message: expect.stringContaining("ended after 99999 of 400000 bytes"),
    });
    expect(server.blobs.size).toBe(0);
  });

  test("a registry that does not say where to upload fails", async () => {
    await using server = await startMemoryRegistry({ location: "missing" });
    await using registry = client();
    await expect(
      registry.pushBlob(at(server.host, "app:1"), layer.blob, source, call()),
    ).rejects.toThrow("did not say where to upload");
  });

  test("a push whose answer was lost is found to have worked", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    server.fail({ method: "PUT", kind: "lose-answer" });
    server.addBlob("other", layer.bytes);
    const pushing = registry.pushBlob(at(server.host, "app:1"), layer.blob, source, call());
    expect(await pushing).toBe("uploaded");
  });

  test("an abort ends an upload at once", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    const controller = new AbortController();
    const endless = async function* (): AsyncIterable<Uint8Array> {
      yield layer.bytes.subarray(0, 1000);
      setTimeout(() => controller.abort(new Error("enough")), 50);
      await new Promise((resolve) => setTimeout(resolve, 300));
      yield layer.bytes.subarray(1000);
    };
    await expect(
      registry.pushBlob(
        at(server.host, "app:1"),
        layer.blob,
        { open: endless },
        call(controller.signal),
      ),
    ).rejects.toThrow("enough");
  });
});

describe("mounts", () => {
  const push = async (
    mount: "accept" | "ignore" | "refuse" | "fail",
    fromHost?: string,
  ): Promise<readonly [result: string, puts: number, posts: number]> => {
    await using server = await startMemoryRegistry({ mount });
    server.addBlob("base/image", layer.bytes);
    await using registry = client();
    const from = at(fromHost ?? server.host, "base/image:1");
    const target = at(server.host, "org/app:1");
    const result = await registry.pushBlob(target, layer.blob, { ...source, from }, call());
    expect(server.blobs.get("org/app")?.get(layer.blob.digest)?.equals(layer.bytes)).toBe(true);
    return [result, server.count("PUT"), server.count("POST")];
  };

  test("an accepted mount moves no bytes", async () => {
    expect(await push("accept")).toEqual(["mounted", 0, 1]);
  });

  test("a 202 answer is an upload that goes on at its Location", async () => {
    expect(await push("ignore")).toEqual(["uploaded", 1, 1]);
  });

  test.each(["refuse", "fail"] as const)(
    "a mount that ends in %s becomes an upload",
    async (mount) => {
      expect(await push(mount)).toEqual(["uploaded", 1, 2]);
    },
  );

  test("after a refusal no other blob is mounted from that repository, and after a 404 they are", async () => {
    for (const [status, posts] of [
      [403, 1],
      [404, 2],
    ] as const) {
      await using server = await startMemoryRegistry();
      await using registry = client();
      server.fail({ kind: "status", status, method: "POST", path: /mount=/ });
      const from = at(server.host, "base/image:1");
      const target = at(server.host, "org/app:1");
      for (const name of ["one", "two"]) {
        const { bytes, blob } = randomBlob(name.length);
        server.addBlob("base/image", bytes);
        await registry.pushBlob(target, blob, { open: sourceOf(bytes), from }, call());
      }
      expect(server.count("POST", /mount=/)).toBe(posts);
      expect(server.blobs.get("org/app")?.size).toBe(2);
    }
  });

  test("nothing is mounted from another registry", async () => {
    expect(await push("accept", "registry.example")).toEqual(["uploaded", 1, 1]);
  });
});

describe("manifests", () => {
  test("bytes and media type arrive as they are, under the tag", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    const target = at(server.host, "app:1");
    const digest = await registry.pushManifest(target, manifest, DOCKER_MANIFEST, call());
    expect(digest).toBe(digestOf(manifest));
    const stored = server.manifests.get("app")?.get("1");
    expect(stored?.mediaType).toBe(DOCKER_MANIFEST);
    expect(stored?.bytes.equals(manifest)).toBe(true);
  });

  test("without a tag the manifest goes to its digest", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    const untagged = { registry: server.host, repository: "app" };
    const digest = await registry.pushManifest(untagged, manifest, OCI_MANIFEST, call());
    expect(server.requests.at(-1)?.url).toBe(`/v2/app/manifests/${digest}`);
  });

  test("another digest in the answer is an error", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    const headers = { "docker-content-digest": digestOf("something else") };
    server.fail({ method: "PUT", kind: "status", status: 201, headers });
    await expect(
      registry.pushManifest(at(server.host, "app:1"), manifest, OCI_MANIFEST, call()),
    ).rejects.toThrow(/stored sha256:.* instead of sha256:/);
  });

  test("a tag that may not move is told apart from other refusals", async () => {
    await using server = await startMemoryRegistry({ immutableTags: new Set(["1"]) });
    await using registry = client();
    const error: unknown = await registry
      .pushManifest(at(server.host, "app:1"), manifest, OCI_MANIFEST, call())
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ message: expect.stringContaining("400 TAG_INVALID") });
    expect(isImmutableTagError(error)).toBe(true);
    expect(isImmutableTagError(new Error("the tag is immutable"))).toBe(false);
  });
});

describe("the check before a build", () => {
  test("starts an upload and cancels it", async () => {
    await using server = await startMemoryRegistry();
    await using registry = client();
    await registry.checkPush(at(server.host, "app:1"), call());
    expect(server.count("POST")).toBe(1);
    expect(server.count("DELETE")).toBe(1);
    expect(server.openUploads).toBe(0);
  });

  test("a registry that cannot cancel uploads is as good", async () => {
    await using server = await startMemoryRegistry();
    server.fail({ method: "DELETE", kind: "status", status: 405 });
    await using registry = client();
    await registry.checkPush(at(server.host, "app:1"), call());
    expect(server.openUploads).toBe(1);
  });

  test("a repository that does not exist is not a missing right", async () => {
    await using server = await startMemoryRegistry();
    const body = JSON.stringify({
      errors: [{ code: "NAME_UNKNOWN", message: "no such repository" }],
    });
    server.fail({ method: "POST", kind: "status", status: 404, body });
    await using registry = client();
    await expect(registry.checkPush(at(server.host, "org/app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      hint: "the repository org/app may have to be created first",
    });
  });
});

test("logins that come from the registry's own host are had while all its connections wait for them", async () => {
  const valid = new Set<string>();
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://127.0.0.1");
    const { authorization = "" } = request.headers;
    if (url.pathname === "/token") {
      const token = url.searchParams.getAll("scope").join(" ");
      valid.add(`Bearer ${token}`);
      return void response.end(JSON.stringify({ token }));
    }
    if (valid.has(authorization)) return void response.writeHead(202, { location: "/up" }).end();
    const challenge = `Bearer realm="http://${request.headers.host}/token",service="here"`;
    // Nobody is told before everybody has asked.
    setTimeout(() => response.writeHead(401, { "www-authenticate": challenge }).end("who?"), 50);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const host = `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  try {
    await using registry = client();
    const names = ["one", "two", "three", "four", "five", "six"];
    await Promise.all(names.map((name) => registry.checkPush(at(host, `${name}:1`), call())));
    expect(valid.size).toBe(names.length);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
