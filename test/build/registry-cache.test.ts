import { expect, test } from "vitest";
import { machines } from "./caching.js";
import { startTokenServer } from "../support/token-server.js";
import { memoryRegistry } from "./pushing.js";

const TEXT = "FROM scratch\nWORKDIR /one\nCOPY a /a\nWORKDIR /two\nCOPY b /b\n";
const ALL = ["WORKDIR /one", "COPY a /a", "WORKDIR /two", "COPY b /b"];

test("a machine with an empty store takes layers from the registry, and downloads none", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const options = {
    destinations: [`${registry.host}/org/app:1`],
    registryCache: { copyLayers: true },
  };
  const first = await build("one", TEXT, options);
  expect(first.made).toEqual(ALL);
  const [asked, opened] = [registry.requests.length, registry.connections];
  const second = await build("two", TEXT, options);
  expect(second.cached).toEqual(ALL);
  expect(second.made).toEqual([]);
  expect(second.pulled).toBe(0);
  expect(second.result.image).toEqual(first.result.image);
  const requests = registry.requests.slice(asked).map(({ method, url }) => `${method} ${url}`);
  expect(requests.filter((one) => /GET .*blobs|PUT|POST/.test(one))).toEqual([]);
  expect(registry.connections - opened).toBeLessThanOrEqual(4);
});

test("times and inodes of the context decide nothing", async () => {
  const [{ build, copyContext }, registry] = [await machines(), await memoryRegistry()];
  const options = {
    destinations: [`${registry.host}/org/app:1`],
    registryCache: { copyLayers: true },
  };
  await build("one", TEXT, options);
  await copyContext();
  expect((await build("two", TEXT, options)).cached).toEqual(ALL);
});

test("layers of COPY are not there unless asked for, and what comes after them is found all the same", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const options = { destinations: [`${registry.host}/org/app:1`], registryCache: {} };
  await build("one", TEXT, options);
  const { cached, made } = await build("two", TEXT, options);
  expect(cached).toEqual(["WORKDIR /one", "WORKDIR /two"]);
  expect(made).toEqual(["COPY a /a", "COPY b /b"]);
  const none = { ...options, registryCache: { runLayers: false } };
  expect((await build("three", TEXT, none)).cached).toEqual([]);
});

test("blobs go over the line once, and are mounted from the cache or into it", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const options = {
    destinations: [`${registry.host}/org/app:1`],
    registryCache: { copyLayers: true },
  };
  await build("one", TEXT, options);
  // Three layers (both WORKDIR make their own), their three configurations, and the image's.
  const layers = new Set(registry.blobs.get("org/app")?.keys()).size - 1;
  const uploads = registry.requests.filter(
    ({ method, url }) => method === "PUT" && /blobs/.test(url),
  );
  expect(uploads.length).toBe(layers + ALL.length + 1);
  const other = { ...options, destinations: [`${registry.host}/org/other:1`] };
  const repository = `${registry.host}/org/app/cache`;
  const before = registry.count("PUT", /blobs/);
  const cached = await build("two", TEXT, {
    ...other,
    registryCache: { repository, copyLayers: true },
  });
  expect(cached.made).toEqual([]);
  // The configuration alone.
  expect(registry.count("PUT", /blobs/) - before).toBe(1);
});

test("a layer that is too old is made anew, and put there again", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const destinations = [`${registry.host}/org/app:1`];
  const buildArgs = { SOURCE_DATE_EPOCH: "1700000000" };
  const options = { destinations, buildArgs, registryCache: {} };
  await build("one", TEXT, options);
  // What the image says of its time is another matter.
  expect((await build("two", TEXT, options)).cached).toHaveLength(2);
  const before = registry.count("PUT", /cache\/manifests/);
  const old = { ...options, registryCache: { ttl: 0 } };
  expect((await build("three", TEXT, old)).cached).toEqual([]);
  expect(registry.count("PUT", /cache\/manifests/) - before).toBe(2);
});

test("without leave to push nothing is put there", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const repository = `${registry.host}/org/cache`;
  await build("one", TEXT, { registryCache: { repository, push: false } });
  expect(registry.requests.filter(({ method }) => method !== "GET")).toEqual([]);
  await build("one", "FROM scratch\nWORKDIR /x\n", { registryCache: { repository } });
  expect(registry.manifests.get("org/cache")?.size).toBe(2);
});

test("the cache of an image that is not pushed this time can be looked into", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const options = { destinations: [`${registry.host}/org/app:1`] };
  await build("one", TEXT, { ...options, registryCache: {} });
  const looking = { ...options, push: false, registryCache: { push: false } };
  expect((await build("two", TEXT, looking)).cached).toHaveLength(2);
});

test("a repository that does not exist is asked for once", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const body = JSON.stringify({ errors: [{ code: "NAME_UNKNOWN", message: "unknown" }] });
  registry.fail({ kind: "status", status: 404, method: "GET", times: 9, body });
  const repository = `${registry.host}/org/cache`;
  const registryCache = { repository, copyLayers: true, push: false };
  const { notices, made } = await build("one", TEXT, { registryCache });
  expect(registry.count("GET", /manifests/)).toBe(1);
  expect([made, notices]).toEqual([ALL, []]);
});

test("one whose registry tells of missing pages alone is asked for a page and for its tags", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const repository = `${registry.host}/org/cache`;
  const registryCache = { repository, copyLayers: true, push: false };
  await build("one", TEXT, { registryCache });
  expect(registry.count("GET", /manifests/)).toBe(1);
  expect(registry.count("GET", /tags\/list/)).toBe(1);
  // One that has other pages is asked for each.
  await build("two", TEXT, { registryCache: { ...registryCache, push: true } });
  const before = registry.count("GET", /manifests/);
  await build("three", TEXT.replaceAll("WORKDIR /", "WORKDIR /w"), { registryCache });
  expect(registry.count("GET", /manifests/) - before).toBe(4);
});

test("one that a registry refuses to know is none", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const body = JSON.stringify({ errors: [{ code: "NAME_UNKNOWN", message: "unknown" }] });
  registry.fail({ kind: "status", status: 403, method: "GET", times: 9, body });
  const repository = `${registry.host}/org/cache`;
  const registryCache = { repository, copyLayers: true, push: false };
  const { notices, made } = await build("one", TEXT, { registryCache });
  expect(registry.count("GET", /manifests/)).toBe(1);
  expect([made, notices]).toEqual([ALL, []]);
});

test("a registry that does not answer is said once, and the build goes on", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  await registry[Symbol.asyncDispose]();
  const repository = `${registry.host}/org/cache`;
  const { notices, made } = await build("one", TEXT, {
    registryCache: { repository, copyLayers: true },
  });
  expect(made).toEqual(ALL);
  expect(notices).toHaveLength(1);
  expect(notices[0]).toContain(`the cache ${repository} is not used: `);
});

test("a login that may only read is said once, and the build goes on", async () => {
  const grants = (_: string, __: string, action: string): boolean => action === "pull";
  await using tokens = await startTokenServer({ users: { ann: "pw" }, grants });
  const [{ build }, registry] = [
    await machines(),
    await memoryRegistry({ auth: { kind: "bearer", tokens } }),
  ];
  const secret = { kind: "basic", username: "ann", password: "pw" } as const;
  const keychain = () => Promise.resolve({ secret, source: "test" });
  const repository = `${registry.host}/org/cache`;
  const { notices, made } = await build("one", TEXT, {
    keychain,
    registryCache: { repository, copyLayers: true },
  });
  expect(made).toEqual(ALL);
  expect(notices).toHaveLength(1);
  expect(notices[0]).toContain(`the cache ${repository} is not filled: `);
  expect(registry.manifests.size).toBe(0);
});

test("what is damaged or somebody else's under a key is none", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const repository = `${registry.host}/org/cache`;
  const options = { registryCache: { repository, copyLayers: true } };
  await build("one", TEXT, options);
  const pages = registry.manifests.get("org/cache");
  const keys = [...(pages?.keys() ?? [])].filter((name) => /^[0-9a-f]{64}$/.test(name));
  const type = "application/vnd.oci.image.manifest.v1+json";
  const [first = "", second = "", third = ""] = keys;
  registry.addManifest("org/cache", first, Buffer.from("{}"), type);
  const page = pages?.get(second)?.bytes.toString() ?? "";
  const strange = page.replaceAll("tsbuild.cache.v1", "another.v1");
  registry.addManifest("org/cache", second, Buffer.from(strange), type);
  // The layer that the record tells of is not the page's.
  const digest = /"layers":\[\{[^}]*"digest":"(sha256:[0-9a-f]{64})"/.exec(
    pages?.get(third)?.bytes.toString() ?? "",
  );
  const swapped = (pages?.get(third)?.bytes.toString() ?? "").replace(
    digest?.[1] ?? "none",
    `sha256:${"0".repeat(64)}`,
  );
  registry.addManifest("org/cache", third, Buffer.from(swapped), type);
  const { made, cached } = await build("two", TEXT, options);
  expect(made).toHaveLength(3);
  expect(cached).toHaveLength(1);
});

test("a layer whose bytes are others than its digest says becomes part of nothing", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const repository = `${registry.host}/org/cache`;
  const options = { registryCache: { repository, copyLayers: true } };
  const text = TEXT.replace("FROM scratch", "FROM scratch AS one");
  const two = `${text}FROM scratch\nCOPY --from=one /a /d\n`;
  await build("one", text, { ...options, target: "one" });
  registry.fail({ kind: "corrupt", method: "GET", path: /cache\/blobs/, times: 99 });
  const { made, notices } = await build("two", two, options);
  expect(made).toEqual([...ALL, "COPY --from=one /a /d"]);
  // One for each of the layers.
  expect(notices).toHaveLength(new Set(notices).size);
  for (const notice of notices) expect(notice).toContain("the bytes are corrupt");
});

test("steps of a build that fails are kept, but for the one that failed", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const repository = `${registry.host}/org/cache`;
  const options = { registryCache: { repository, copyLayers: true } };
  const text = "FROM scratch\nWORKDIR /one\nCOPY a /a\nADD http://127.0.0.1:1/x /x\n";
  await expect(build("one", text, options)).rejects.toThrow("127.0.0.1:1");
  const fixed = text.replace(/ADD .*/, "COPY b /b");
  const { cached, made } = await build("two", fixed, options);
  expect([cached, made]).toEqual([["WORKDIR /one", "COPY a /a"], ["COPY b /b"]]);
});

test("builds that fill the same cache at once leave what any later one can use", async () => {
  const [{ build, path }, registry] = [await machines(), await memoryRegistry()];
  const places = [`${registry.host}/org/cache`, `oci:${path}/layout`];
  for (const repository of places) {
    const options = { registryCache: { repository, copyLayers: true } };
    const names = ["one", "two", "three"].map((name) => `${name}-${places.indexOf(repository)}`);
    await Promise.all(names.map((name, at) => build(name, `${TEXT}WORKDIR /${at}\n`, options)));
    for (const at of names.keys()) {
      const { made } = await build(
        `late-${places.indexOf(repository)}-${at}`,
        `${TEXT}WORKDIR /${at}\n`,
        options,
      );
      expect(made, repository).toEqual([]);
    }
  }
});

test("a directory keeps what a repository does", async () => {
  const { build, path } = await machines();
  const repository = `oci:${path}/cache`;
  const registryCache = { repository, copyLayers: true };
  const first = await build("one", TEXT, { registryCache, ociLayoutPath: `${path}/image` });
  expect(first.made).toEqual(ALL);
  const second = await build("two", TEXT, { registryCache, ociLayoutPath: `${path}/again` });
  expect(second.made).toEqual([]);
  expect(second.result.image).toEqual(first.result.image);
});

test("a directory that is something else is said, and left as it is", async () => {
  const { build, context } = await machines();
  const registryCache = { repository: `oci:${context}`, copyLayers: true };
  const { notices } = await build("one", TEXT, { registryCache });
  expect(notices).toHaveLength(1);
  expect(notices[0]).toContain("is no OCI layout");
});

test("a cache without a place is refused", async () => {
  const { build } = await machines();
  await expect(build("one", TEXT, { registryCache: {} })).rejects.toThrow("has no repository");
  const tagged = { registryCache: { repository: "example.com/a:1" } };
  await expect(build("one", TEXT, tagged)).rejects.toThrow("has a tag");
});
