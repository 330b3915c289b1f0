import { expect, test } from "vitest";
import { pushBase, busyboxBase } from "../support/bases.js";
import { startRegistry } from "../support/services.js";
import { startTap } from "../support/tap.js";
import { startTokenServer } from "../support/token-server.js";
import { lacksTools } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { memoryRegistry, workshop } from "./pushing.js";

describeUnless([lacksTools("docker-registry", "skopeo", "busybox")], "a rebuild", () => {
  test("of what the registry has asks for the base and the tag at once, and for nothing else", async () => {
    await using registry = await startRegistry();
    await using tap = await startTap(registry);
    const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
    const text = `FROM ${base.replace(registry.host, tap.host)}\nENV A=b\nLABEL c=d\n`;
    const { build } = await workshop();
    const destinations = [`${tap.host}/org/app:1`];
    const first = await build(text, { destinations });
    const [before, opened] = [(await registry.requests()).length, tap.opened()];
    const second = await build(text, { destinations });
    expect(second.image).toEqual(first.image);
    expect(second.pushed).toEqual(destinations);
    const asked = (await registry.requests()).slice(before).map(withoutStatus);
    expect(asked.toSorted()).toEqual([
      "GET /v2/library/busybox/manifests/latest",
      "HEAD /v2/org/app/manifests/1",
    ]);
    // One of them asked in vain for TLS.
    expect(tap.opened() - opened).toBeLessThanOrEqual(3);
  });

  test("under another tag pushes nothing but the tag", async () => {
    await using registry = await startRegistry();
    const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
    const { build } = await workshop();
    const text = `FROM ${base}\nENV A=b\n`;
    const { image } = await build(text, { destinations: [`${registry.host}/org/app:1`] });
    const before = (await registry.requests()).length;
    await build(text, {
      destinations: [`${registry.host}/org/app:2`, `${registry.host}/org/app:3`],
    });
    const asked = (await registry.requests()).slice(before).map(withoutStatus);
    expect(asked.slice(0, 3).toSorted()).toEqual([
      "GET /v2/library/busybox/manifests/latest",
      "HEAD /v2/org/app/manifests/2",
      "HEAD /v2/org/app/manifests/3",
    ]);
    expect(asked.slice(3)).toEqual([
      `HEAD /v2/org/app/manifests/${image.digest}`,
      "PUT /v2/org/app/manifests/2",
      "PUT /v2/org/app/manifests/3",
    ]);
  });
});

function withoutStatus(request: string): string {
  return request.replace(/ \d+$/, "");
}

test("the first push of a small image with a login takes thirteen requests and one token", async () => {
  await using tokens = await startTokenServer({ users: { ann: "pw" } });
  const registry = await memoryRegistry({ auth: { kind: "bearer", tokens } });
  const { build } = await workshop();
  const keychain = () =>
    Promise.resolve({
      secret: { kind: "basic", username: "ann", password: "pw" } as const,
      source: "test",
    });
  await build("FROM scratch\nCOPY a /a\nCOPY b /b\nCMD x\n", {
    destinations: [`${registry.host}/org/app:1`],
    keychain,
  });
  const asked = registry.requests.map(({ method }) => method);
  expect(asked.length).toBeLessThanOrEqual(13);
  expect(tokens.seen).toHaveLength(1);
  expect(registry.connections).toBeLessThanOrEqual(4);
  expect(registry.openUploads).toBe(0);
});

test("a rebuild whose layers are known asks for the tag alone, and one that makes them again uploads none", async () => {
  const registry = await memoryRegistry();
  const { build } = await workshop();
  const destinations = [`${registry.host}/org/app:1`];
  const text = "FROM scratch\nCOPY a /a\nCOPY b /b\n";
  await build(text, { destinations });
  const asked = async (cache: boolean): Promise<readonly string[]> => {
    const before = registry.requests.length;
    const opened = registry.connections;
    await build(text, { destinations, cache });
    expect(registry.connections - opened).toBeLessThanOrEqual(4);
    return registry.requests.slice(before).map(({ method }) => method);
  };
  expect(await asked(true)).toEqual(["HEAD"]);
  const again = await asked(false);
  // The right to push (two), two layers, the tag.
  expect(again.length).toBeLessThanOrEqual(5);
  expect(again).not.toContain("PUT");
});

test("a tag of an image that lost a layer is given after all of it has been pushed again", async () => {
  const registry = await memoryRegistry();
  const { build } = await workshop();
  const base = `${registry.host}/org/base:1`;
  await build("FROM scratch\nCOPY a /a\n", { destinations: [base] });
  const text = `FROM ${base}\nENV A=b\n`;
  const { image } = await build(text, { destinations: [`${registry.host}/org/app:1`] });
  registry.blobs.get("org/app")?.clear();
  const path = /org\/app\/manifests\/2$/;
  registry.fail({ kind: "status", status: 404, method: "PUT", path });
  await build(text, { destinations: [`${registry.host}/org/app:2`] });
  expect(registry.blobs.get("org/app")?.size).toBe(2);
  expect(registry.count("PUT", path)).toBe(2);
  expect(registry.manifests.get("org/app")?.get("2")).toBeDefined();
  expect(registry.manifests.get("org/app")?.has(image.digest)).toBe(true);
});

test("manifests that a base's index names are asked for once, and a base by its digest never again", async () => {
  const registry = await memoryRegistry();
  const { build } = await workshop();
  const base = `${registry.host}/org/base:1`;
  const platform = "linux/amd64,linux/arm64";
  const { image } = await build("FROM scratch\nCOPY a /a\n", { destinations: [base], platform });
  const text = (name: string): string => `FROM ${name}\nENV A=b\n`;
  const asked = async (name: string): Promise<readonly string[]> => {
    const before = registry.requests.length;
    await build(text(name), { destinations: [`${registry.host}/org/app:1`], push: false });
    return registry.requests.slice(before).map(({ method, url }) => `${method} ${url}`);
  };
  expect((await asked(base)).length).toBe(3);
  expect(await asked(base)).toEqual(["GET /v2/org/base/manifests/1"]);
  expect(await asked(`${registry.host}/org/base@${image.digest}`)).toEqual([]);
});

/** Twenty layers, each of one file. */
const TWENTY = [
  "FROM scratch",
  ...Array.from({ length: 20 }, (_, at) => `COPY a /a${at}`),
  "",
].join("\n");

describeUnless([lacksTools("docker-registry", "skopeo", "busybox")], "twenty layers", () => {
  test("go to a repository that does not exist with two requests each, and to the next with one", async () => {
    await using registry = await startRegistry();
    const { build } = await workshop();
    const asked = async (name: string, store?: string): Promise<Counts> => {
      const before = (await registry.requests()).length;
      const destinations = [`${registry.host}/org/${name}:1`];
      await build(TWENTY, { destinations, ...(store === undefined ? {} : { store }) });
      return counted((await registry.requests()).slice(before));
    };
    // The tag, the repository; the right to push is asked for with one POST and one DELETE.
    const tag = { "HEAD manifests": 1, "GET tags": 1, "PUT manifests": 1 };
    expect(await asked("cold")).toEqual({
      ...tag,
      "POST uploads": 22,
      "PUT uploads": 21,
      "DELETE uploads": 1,
    });
    expect(await asked("cached")).toEqual({ ...tag, "POST uploads": 21, "PUT uploads": 1 });
    expect(await asked("cached")).toEqual({ "HEAD manifests": 1 });
  });

  test("of a base in the same registry are mounted with one request each, and never downloaded", async () => {
    await using registry = await startRegistry();
    const { build, store } = await workshop();
    const base = `${registry.host}/org/base:1`;
    await build(TWENTY, { destinations: [base] });
    const before = (await registry.requests()).length;
    const destinations = [`${registry.host}/org/app:1`];
    await build(`FROM ${base}\nENV a=b\n`, { destinations, store: `${store}-other` });
    expect(counted((await registry.requests()).slice(before))).toEqual({
      "GET manifests": 1,
      // The base's configuration.
      "GET blobs": 1,
      "HEAD manifests": 1,
      "GET tags": 1,
      "POST uploads": 21,
      "PUT uploads": 1,
      "PUT manifests": 1,
    });
  });
});

type Counts = Readonly<Record<string, number>>;

/** How often each kind of request was made. */
function counted(requests: readonly string[]): Counts {
  const counts: Record<string, number> = {};
  for (const request of requests) {
    const [, method, kind] = /^(\S+) .*\/(uploads|blobs|manifests|tags)\//.exec(request) ?? [];
    const name = `${method} ${kind}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

test("a repository with other images is asked for each layer, and gets no copy of what it has", async () => {
  const [{ build, store }, registry] = [await workshop(), await memoryRegistry()];
  await build("FROM scratch\nCOPY a /a\n", { destinations: [`${registry.host}/org/app:1`] });
  const text = "FROM scratch\nCOPY a /a\nCOPY b /b\n";
  const [heads, puts] = [registry.count("HEAD", /blobs/), registry.count("PUT", /blobs/)];
  const destinations = [`${registry.host}/org/app:2`];
  await build(text, { destinations, store: `${store}-other` });
  expect(registry.count("HEAD", /blobs/) - heads).toBe(2);
  // The second layer and the configuration.
  expect(registry.count("PUT", /blobs/) - puts).toBe(2);
});

test("a place that the store remembers and that is gone costs no more than an upload", async () => {
  const [{ build }, registry] = [await workshop(), await memoryRegistry()];
  const text = "FROM scratch\nCOPY a /a\n";
  await build(text, { destinations: [`${registry.host}/org/one:1`] });
  registry.blobs.get("org/one")?.clear();
  const puts = registry.count("PUT", /blobs/);
  await build(text, { destinations: [`${registry.host}/org/two:1`] });
  expect(registry.count("POST", /org\/two\/blobs\/uploads/)).toBe(2);
  expect(registry.count("PUT", /blobs/) - puts).toBe(2);
});
