import { describe, expect, test } from "vitest";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import { formatScope, parseChallenges } from "../../src/registry/challenge.js";
import type { Keychain, Secret } from "../../src/registry/types.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import { startTokenServer } from "../support/token-server.js";
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

const PASSWORD = "pa:ss w0rd";
const layer = randomBlob(50_000);
const source = { open: sourceOf(layer.bytes) };
const manifest = manifestOf(configBlob({ os: "linux", architecture: "amd64" }).blob, [layer.blob]);
const users = { alice: PASSWORD };

function holding(secret: Secret): Keychain {
  return async () => ({ secret, source: 'auths["test"] in /config.json' });
}

/** Everything that a message could show of an error. */
function shown(error: unknown): string {
  const parts: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) {
    parts.push(at.message, String(at.stack), JSON.stringify(at));
  }
  return parts.join("\n");
}

test("challenges are read as RFC 9110 writes them", () => {
  expect(
    parseChallenges(
      'Bearer realm="https://auth.example/token?a=b,c",service="a \\"quoted\\" one", scope="x:y:pull,push x:z:pull",Basic realm=plain',
    ),
  ).toEqual([
    {
      scheme: "bearer",
      parameters: {
        realm: "https://auth.example/token?a=b,c",
        service: 'a "quoted" one',
        scope: "x:y:pull,push x:z:pull",
      },
    },
    { scheme: "basic", parameters: { realm: "plain" } },
  ]);
  expect(parseChallenges("")).toEqual([]);
  expect(parseChallenges('Negotiate, Basic realm="x"').map(({ scheme }) => scheme)).toEqual([
    "negotiate",
    "basic",
  ]);
  expect(formatScope({ repository: "a/b", actions: ["pull", "push"] })).toBe(
    "repository:a/b:pull,push",
  );
});

describe("basic", () => {
  test("the credential is sent only once it was asked for, then with every request", async () => {
    const auth = { kind: "basic", username: "alice", password: PASSWORD } as const;
    await using server = await startMemoryRegistry({ auth });
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    await registry.pushBlob(at(server.host, "app:1"), layer.blob, source, call());
    await registry.pushManifest(at(server.host, "app:1"), manifest, OCI_MANIFEST, call());
    const refused = server.requests.filter(({ status }) => status === 401);
    expect(refused.length).toBe(1);
    expect(server.manifests.get("app")?.size).toBe(2);
  });

  test("a wrong password names the registry, the repository and the source, and is not repeated", async () => {
    const auth = { kind: "basic", username: "alice", password: PASSWORD } as const;
    await using server = await startMemoryRegistry({ auth });
    const secret = { kind: "basic", username: "alice", password: "not-the-password" } as const;
    await using registry = client({ keychain: holding(secret) });
    const error: unknown = await registry
      .checkPush(at(server.host, "org/app:1"), call())
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "REGISTRY_DENIED",
      message: `tried to check the right to push to ${server.host}/org/app: the registry refused ${server.host}/org/app (401 UNAUTHORIZED: authentication required), with the credential of auths["test"] in /config.json`,
    });
    expect(shown(error)).not.toContain("not-the-password");
    expect(shown(error)).not.toContain(Buffer.from("alice:not-the-password").toString("base64"));
    // The same credential a second time would get the same answer.
    const asked = server.requests.map(({ headers }) => headers["authorization"]);
    expect(asked.filter((header) => header !== undefined)).toHaveLength(1);
  });

  test("without a credential the error says where one was looked for", async () => {
    const auth = { kind: "basic", username: "alice", password: PASSWORD } as const;
    await using server = await startMemoryRegistry({ auth });
    const keychain: Keychain = Object.assign(async () => undefined, {
      lookedIn: () => ["/root/.docker/config.json (not there)"],
    });
    await using registry = client({ keychain });
    await expect(registry.manifest(at(server.host, "app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_DENIED",
      message: expect.stringContaining(
        `no credential was found for ${server.host}; looked in /root/.docker/config.json (not there)`,
      ),
      hint: expect.stringContaining("docker login"),
    });
  });
});

describe("tokens", () => {
  test.each([
    ["GET with a user and a password", { users, flows: ["get"] }],
    ["POST where GET is not known", { users, flows: ["post"] }],
    ["access_token as the field's name", { users, field: "access_token" }],
  ] as const)("%s", async (_, options) => {
    await using tokens = await startTokenServer(options);
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    const target = at(server.host, "org/app:1");
    await registry.checkPush(target, call());
    expect(await registry.pushBlob(target, layer.blob, source, call())).toBe("uploaded");
    await registry.pushManifest(target, manifest, OCI_MANIFEST, call());
    expect(tokens.seen.at(-1)).toMatchObject({
      user: "alice",
      scopes: ["repository:org/app:pull,push"],
      service: tokens.service,
    });
    // A push token may pull: one serves the whole build.
    await collect(registry.blob(target, layer.blob, call()));
    expect(tokens.seen.filter(({ user }) => user === "alice").length).toBeLessThanOrEqual(2);
  });

  test("anonymous pulls get a token too, for pulling only", async () => {
    const grants = (_: string, __: string, action: string): boolean => action === "pull";
    await using tokens = await startTokenServer({ grants });
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    server.addManifest("app", "1", manifest, OCI_MANIFEST);
    await using registry = client();
    await registry.manifest(at(server.host, "app:1"), call());
    expect(tokens.seen).toMatchObject([{ user: "", scopes: ["repository:app:pull"] }]);
    await expect(registry.checkPush(at(server.host, "app:1"), call())).rejects.toMatchObject({
      code: "REGISTRY_DENIED",
      message: expect.stringContaining("no credential was found"),
    });
  });

  test("a refresh token is exchanged by POST, and a rotated one takes its place", async () => {
    const options = { refreshTokens: new Set(["first"]), rotates: true };
    await using tokens = await startTokenServer(options);
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    await using registry = client({ keychain: holding({ kind: "refresh", token: "first" }) });
    await registry.checkPush(at(server.host, "one:1"), call());
    await registry.checkPush(at(server.host, "two:1"), call());
    expect(tokens.seen.map(({ method, grantType, user }) => [method, grantType, user])).toEqual([
      ["POST", "refresh_token", "refresh"],
      ["POST", "refresh_token", "refresh"],
    ]);
  });

  test("a bearer token of the configuration is used as it is", async () => {
    await using tokens = await startTokenServer({ users });
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    const form = new URLSearchParams({
      grant_type: "password",
      username: "alice",
      password: PASSWORD,
      service: tokens.service,
      scope: "repository:app:pull,push",
    });
    const answer = await fetch(tokens.realm, { method: "POST", body: form });
    const { token } = (await answer.json()) as { token: string };
    await using registry = client({ keychain: holding({ kind: "bearer", token }) });
    await registry.checkPush(at(server.host, "app:1"), call());
    expect(tokens.seen.length).toBe(1);
  });

  test("a token that ends in the middle of a push is replaced", async () => {
    await using tokens = await startTokenServer({ users });
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    const target = at(server.host, "app:1");
    await registry.checkPush(target, call());
    let opened = 0;
    const open = async function* (): AsyncIterable<Uint8Array> {
      // Between the POST and the end of the PUT.
      if (opened++ === 0) tokens.expireAll();
      yield* source.open();
    };
    expect(await registry.pushBlob(target, layer.blob, { open }, call())).toBe("uploaded");
    expect(opened).toBe(2);
    tokens.expireAll();
    await registry.pushManifest(target, manifest, OCI_MANIFEST, call());
  });

  test("a token is renewed before it ends, by the time the server gave it", async () => {
    await using tokens = await startTokenServer({ users, expiresIn: 1 });
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    await registry.checkPush(at(server.host, "app:1"), call());
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const before = server.requests.length;
    await registry.checkPush(at(server.host, "app:1"), call());
    const later = server.requests.slice(before).map(({ status }) => status);
    expect(later).toEqual([202, 204]);
    // On a machine that stands still for a second it is more than once.
    expect(tokens.seen.length).toBeGreaterThanOrEqual(2);
  });

  test("requests that need the same token at once ask for it once", async () => {
    await using tokens = await startTokenServer({ users });
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    const target = at(server.host, "app:1");
    const blobs = Array.from({ length: 8 }, () => randomBlob(1000));
    await Promise.all(
      blobs.map(({ bytes, blob }) =>
        registry.pushBlob(target, blob, { open: sourceOf(bytes) }, call()),
      ),
    );
    expect(tokens.seen.length).toBe(1);
  });

  test("a token server that is busy is asked again, a wrong password is not", async () => {
    await using tokens = await startTokenServer({ users });
    tokens.failures.push(503, 429);
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    await registry.checkPush(at(server.host, "app:1"), call());
    expect(tokens.seen.length).toBe(3);
    const secret = { kind: "basic", username: "alice", password: "not-the-password" } as const;
    await using wrong = client({ keychain: holding(secret) });
    const error: unknown = await wrong
      .checkPush(at(server.host, "app:1"), call())
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "REGISTRY_DENIED",
      message: expect.stringMatching(
        /app from http:.*\/token: it refused the credential of auths\["test"\] in \/config.json \(401/,
      ),
    });
    expect(shown(error)).not.toContain("not-the-password");
    expect(tokens.seen.length).toBe(4);
  });
});

describe("mounts", () => {
  const mountFrom = async (
    refusesLesser: boolean,
    canPullBase: boolean,
  ): Promise<readonly [string, readonly (readonly string[])[]]> => {
    const grants = (user: string, repository: string): boolean =>
      user === "alice" && (repository === "org/app" || canPullBase);
    await using tokens = await startTokenServer({ users, grants, refusesLesser });
    await using server = await startMemoryRegistry({ auth: { kind: "bearer", tokens } });
    server.addBlob("base/image", layer.bytes);
    await using registry = client({ keychain: basic("alice", PASSWORD) });
    const target = at(server.host, "org/app:1");
    const from = at(server.host, "base/image:1");
    const result = await registry.pushBlob(target, layer.blob, { ...source, from }, call());
    return [result, tokens.seen.map(({ scopes }) => scopes)];
  };

  test("one token may pull there and push here", async () => {
    const [result, scopes] = await mountFrom(false, true);
    expect(result).toBe("mounted");
    expect(scopes.at(-1)).toEqual(["repository:org/app:pull,push", "repository:base/image:pull"]);
  });

  test.each([
    ["a lesser token", false],
    ["no token at all", true],
  ])(
    "where the source may not be pulled and the server gives %s, it is uploaded",
    async (_, refuses) => {
      const [result] = await mountFrom(refuses, false);
      expect(result).toBe("uploaded");
    },
  );
});
