import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { machines } from "./caching.js";
import { memoryRegistry } from "./pushing.js";

const TEXT = [
  "FROM scratch AS tools",
  "WORKDIR /one",
  "COPY a /a",
  "FROM scratch",
  "COPY --from=tools /a /b",
  "COPY b /c",
  "",
].join("\n");
const OF_RESULT = ["COPY --from=tools /a /b", "COPY b /c"];

test("a registry keeps the layers of the result under a reference, and one answer tells of all", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const ref = `${registry.host}/org/cache:main`;
  const destinations = [`${registry.host}/org/app:1`];
  const first = await build("one", TEXT, { destinations, cacheTo: [{ type: "registry", ref }] });
  expect([...(registry.manifests.get("org/cache")?.keys() ?? [])]).toContain("main");
  const asked = registry.requests.length;
  const second = await build("two", TEXT, { destinations, cacheFrom: [{ type: "registry", ref }] });
  expect([second.cached, second.made]).toEqual([OF_RESULT, []]);
  expect(second.result.image).toEqual(first.result.image);
  const gets = registry.requests.slice(asked).filter(({ method }) => method === "GET");
  expect(gets.map(({ url }) => url).filter((url) => url !== "/v2/")).toEqual([
    "/v2/org/cache/manifests/main",
  ]);
});

test("mode=min has the layers of the result alone, mode=max all", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const ref = `${registry.host}/org/cache:main`;
  const cacheFrom = [{ type: "registry", ref } as const];
  await build("one", TEXT, { cacheTo: [{ type: "registry", ref }] });
  const min = await build("two", TEXT, { cacheFrom, target: "tools" });
  expect(min.cached).toEqual([]);
  await build("three", TEXT, { cacheTo: [{ type: "registry", ref, mode: "max" }] });
  const max = await build("four", TEXT, { cacheFrom, target: "tools" });
  expect([max.cached, max.made]).toEqual([["WORKDIR /one", "COPY a /a"], []]);
});

test("what was found is written again, also of stages that were not looked into", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const refs = ["a", "b"].map((tag) => `${registry.host}/org/cache:${tag}`);
  const [from = "", to = ""] = refs;
  await build("one", TEXT, { cacheTo: [{ type: "registry", ref: from, mode: "max" }] });
  await build("two", TEXT, {
    cacheFrom: [{ type: "registry", ref: from }],
    cacheTo: [{ type: "registry", ref: to, mode: "max" }],
  });
  const last = await build("three", TEXT, {
    cacheFrom: [{ type: "registry", ref: to }],
    target: "tools",
  });
  expect(last.made).toEqual([]);
});

test("a directory keeps layers, too", async () => {
  const { build, path } = await machines();
  const dest = join(path, "cache");
  await build("one", TEXT, { cacheTo: [{ type: "local", dest, mode: "max" }] });
  const cacheFrom = [{ type: "local", src: dest } as const];
  expect((await build("two", TEXT, { cacheFrom })).made).toEqual([]);
  const index: unknown = JSON.parse(await readFile(join(dest, "index.json"), "utf8"));
  expect(index).toMatchObject({
    manifests: [{ annotations: { "org.opencontainers.image.ref.name": "latest" } }],
  });
});

test("an image has its own records inside, and does not change by being built from them", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const ref = `${registry.host}/org/app:1`;
  const options = {
    destinations: [ref],
    platform: "linux/amd64,linux/arm64",
    buildArgs: { SOURCE_DATE_EPOCH: "1700000000" },
    cacheTo: [{ type: "inline" } as const],
  };
  const first = await build("one", TEXT, options);
  const second = await build("two", TEXT, {
    ...options,
    cacheFrom: [{ type: "registry", ref }],
  });
  expect(second.made).toEqual([]);
  expect(new Set(second.cached)).toEqual(new Set(OF_RESULT));
  expect(second.result.image).toEqual(first.result.image);
});

test("a cache that is not there, or is none, is no error", async () => {
  const [{ build, path }, registry] = [await machines(), await memoryRegistry()];
  registry.addManifest(
    "org/odd",
    "1",
    Buffer.from("{}"),
    "application/vnd.oci.image.manifest.v1+json",
  );
  const { made, notices } = await build("one", TEXT, {
    cacheFrom: [
      { type: "registry", ref: `${registry.host}/org/none:1` },
      { type: "registry", ref: `${registry.host}/org/odd:1` },
      { type: "local", src: join(path, "none") },
    ],
  });
  expect(made).toHaveLength(4);
  expect(notices).toHaveLength(1);
  expect(notices[0]).toContain("org/odd");
});

test("a cache that cannot be written is a notice", async () => {
  const [{ build, context }, registry] = [await machines(), await memoryRegistry()];
  registry.fail({ kind: "status", status: 403, method: "PUT", path: /cache/, times: 99 });
  const ref = `${registry.host}/org/cache:1`;
  const { notices } = await build("one", TEXT, {
    cacheTo: [
      { type: "registry", ref },
      { type: "local", dest: context },
    ],
  });
  expect(notices.map((one) => one.replace(/: tried.*/, ""))).toEqual([
    `the cache ${ref} is not written`,
    `the cache ${context}:latest is not written`,
  ]);
});
