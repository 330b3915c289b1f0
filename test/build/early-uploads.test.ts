import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startTokenServer } from "../support/token-server.js";
import { eventually } from "../support/tools.js";
import type { MemoryRegistry } from "../support/memory-registry.js";
import { gate, memoryRegistry, workshop } from "./pushing.js";

/** Long enough for an upload to loopback that should not be there. */
const A_WHILE_MS = 300;

/** Else the files of all instructions are looked at before the first one works, and the gate is such a file. */
const inTurn = { cache: false } as const;

const blobsOf = (registry: MemoryRegistry, repository = "org/app"): number =>
  registry.blobs.get(repository)?.size ?? 0;

function untilUploaded(registry: MemoryRegistry, count: number): Promise<boolean> {
  const isThere = (): Promise<true | undefined> =>
    Promise.resolve(blobsOf(registry) >= count ? true : undefined);
  return eventually(`${count} uploaded blobs`, isThere);
}

test("a layer is in the registry while a later instruction still works, and the tag comes at the end", async () => {
  const [{ build }, registry, door] = [await workshop(), await memoryRegistry(), await gate()];
  const destinations = [`${registry.host}/org/app:1`];
  const built = build(`FROM scratch\nCOPY a /a\nADD ${door.url} /gate\nCOPY b /b\n`, {
    destinations,
    ...inTurn,
  });
  await untilUploaded(registry, 1);
  expect(registry.manifests.size).toBe(0);
  door.open(200);
  const { image } = await built;
  // Three layers and the configuration, each once.
  expect(registry.count("PUT", /blobs/)).toBe(4);
  // Of a repository that does not exist nobody asks what it has.
  expect(registry.count("HEAD", /blobs/)).toBe(0);
  expect(registry.count("GET", /tags/)).toBe(1);
  expect([...(registry.manifests.get("org/app")?.keys() ?? [])]).toEqual([image.digest, "1"]);
});

test("a build that fails tags nothing, and waits for no upload", async () => {
  const [{ build }, registry, door] = [await workshop(), await memoryRegistry(), await gate()];
  // The upload's answer never comes: who waited for it would wait for minutes.
  registry.fail({ kind: "stall", afterBytes: 0, method: "PUT", path: /blobs/, times: 100 });
  const destinations = [`${registry.host}/org/app:1`];
  const built = build(`FROM scratch\nCOPY a /a\nADD ${door.url} /gate\n`, {
    destinations,
    ...inTurn,
  });
  await eventually("an upload", () =>
    Promise.resolve(registry.count("PUT", /blobs/) > 0 ? true : undefined),
  );
  door.open(404);
  await expect(built).rejects.toThrow("404");
  const asked = registry.requests.length;
  await sleep(A_WHILE_MS);
  expect(registry.requests.length).toBe(asked);
  expect(registry.count("PUT", /manifests/)).toBe(0);
});

test("what could not be uploaded early is tried again at the end", async () => {
  const [{ build }, registry] = [await workshop(), await memoryRegistry()];
  registry.fail({ kind: "status", status: 400, method: "PUT", path: /blobs/ });
  const destinations = [`${registry.host}/org/app:1`];
  const { image } = await build("FROM scratch\nCOPY a /a\n", { destinations, ...inTurn });
  expect(registry.manifests.get("org/app")?.has(image.digest)).toBe(true);
  expect(blobsOf(registry)).toBe(2);
});

test("nothing is uploaded before the registry has allowed it, and its refusal ends a build that works", async () => {
  const grants = (_: string, __: string, action: string): boolean => action === "pull";
  await using tokens = await startTokenServer({ users: { ann: "pw" }, grants });
  const auth = { kind: "bearer", tokens } as const;
  const [{ build }, registry, door] = [
    await workshop(),
    await memoryRegistry({ auth }),
    await gate(),
  ];
  const keychain = () =>
    Promise.resolve({
      secret: { kind: "basic", username: "ann", password: "pw" } as const,
      source: "test",
    });
  const destinations = [`${registry.host}/org/app:1`];
  const built = build(`FROM scratch\nCOPY a /a\nADD ${door.url} /gate\n`, {
    destinations,
    keychain,
    ...inTurn,
  });
  // The gate is never opened.
  await expect(built).rejects.toMatchObject({
    code: "REGISTRY_DENIED",
    message: expect.stringContaining("tried to check the right to push"),
  });
  expect(registry.count("HEAD", /blobs/)).toBe(0);
  expect(registry.openUploads).toBe(0);
});

test("a build that pushes nothing asks no registry anything", async () => {
  const [{ build }, registry] = [await workshop(), await memoryRegistry()];
  const destinations = [`${registry.host}/org/app:1`];
  await build("FROM scratch\nCOPY a /a\n", { destinations, push: false });
  expect(registry.requests).toEqual([]);
});

test("layers of stages that stay here, and those that become one, are not uploaded early", async () => {
  const [{ build }, registry, door] = [await workshop(), await memoryRegistry(), await gate()];
  const destinations = [`${registry.host}/org/app:1`];
  const built = build(
    `FROM scratch AS other\nCOPY a /a\nADD ${door.url} /gate\nFROM scratch\nCOPY --from=other /gate /\nCOPY b /b\n`,
    { destinations, singleSnapshot: true, ...inTurn },
  );
  await door.reached;
  await sleep(A_WHILE_MS);
  expect(blobsOf(registry)).toBe(0);
  door.open(200);
  await built;
  expect(blobsOf(registry)).toBe(2);
});

test("each registry gets its own layers, and a second repository has them mounted from the first", async () => {
  const [{ build }, one, two, door] = [
    await workshop(),
    await memoryRegistry(),
    await memoryRegistry(),
    await gate(),
  ];
  const names = [`${one.host}/org/app:1`, `${one.host}/org/app:2`, `${one.host}/org/twin:1`];
  const destinations = [...names, `${two.host}/org/app:1`];
  const built = build(`FROM scratch\nCOPY a /a\nADD ${door.url} /gate\n`, {
    destinations,
    ...inTurn,
  });
  await untilUploaded(one, 1);
  await untilUploaded(two, 1);
  door.open(200);
  await built;
  expect(one.count("PUT", /org\/app\/blobs/)).toBe(3);
  expect(one.count("PUT", /org\/twin\/blobs/)).toBe(0);
  expect(one.count("POST", /org\/twin\/blobs\/uploads\/\?mount=/)).toBe(3);
  expect(two.count("PUT", /blobs/)).toBe(3);
  for (const name of ["1", "2"]) expect(one.manifests.get("org/app")?.has(name)).toBe(true);
  expect(one.manifests.get("org/twin")?.has("1")).toBe(true);
  expect(two.manifests.get("org/app")?.has("1")).toBe(true);
});

test("the base's layers are mounted beside the build, from the repository that has them", async () => {
  const [{ build }, registry, door] = [await workshop(), await memoryRegistry(), await gate()];
  const base = `${registry.host}/org/base:1`;
  await build("FROM scratch\nCOPY a /a\nCOPY b /b\n", { destinations: [base] });
  const destinations = [`${registry.host}/org/app:1`];
  const built = build(`FROM ${base}\nWORKDIR /new\nADD ${door.url} /gate\n`, {
    destinations,
    ...inTurn,
  });
  await untilUploaded(registry, 3);
  door.open(200);
  await built;
  expect(registry.count("POST", /org\/app\/blobs\/uploads\/\?mount=/)).toBe(2);
  // Two layers and the configuration; of what the store has nothing is fetched, the base's configuration apart.
  expect(registry.count("PUT", /org\/app\/blobs/)).toBe(3);
  expect(registry.count("GET", /blobs/)).toBe(1);
});
