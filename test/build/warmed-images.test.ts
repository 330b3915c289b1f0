import { mkdir, rename, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { machines, type Machines } from "./caching.js";
import { memoryRegistry } from "./pushing.js";
import type { MemoryRegistry } from "../support/memory-registry.js";

interface Warmed {
  readonly directory: string;
  readonly entry: string;
  readonly layer: string;
  readonly text: string;
}

/** A base in the registry, and laid ready as the warmer does it. */
async function warm({ build, path }: Machines, registry: MemoryRegistry): Promise<Warmed> {
  const base = `${registry.host}/org/base:1`;
  const made = await build("maker", "FROM scratch\nCOPY a /a\n", {
    destinations: [base],
    ociLayoutPath: join(path, "layout"),
  });
  const directory = join(path, "warmed");
  const { digest } = made.result.image;
  const entry = join(directory, digest);
  await mkdir(directory);
  await rename(join(path, "layout"), entry);
  const bytes = registry.manifests.get("org/base")?.get("1")?.bytes.toString() ?? "{}";
  const { layers } = JSON.parse(bytes) as { layers: readonly { digest: string }[] };
  const layer = join(entry, "blobs", ...(layers[0]?.digest ?? "").split(":"));
  return { directory, entry, layer, text: `FROM ${base}\nCOPY --from=${base} /a /b\n` };
}

const blobsAsked = (registry: MemoryRegistry): number => registry.count("GET", /base\/blobs/);

test("a base that was laid ready is not pulled: the registry is asked for its tag alone", async () => {
  const [all, registry] = [await machines(), await memoryRegistry()];
  const { directory, text } = await warm(all, registry);
  const before = registry.requests.length;
  const { made, notices } = await all.build("one", text, { cacheDirectory: directory });
  expect([made, notices]).toEqual([[text.split("\n")[1]], []]);
  const asked = registry.requests.slice(before).map(({ url }) => url);
  expect(asked.filter((url) => url !== "/v2/")).toEqual(["/v2/org/base/manifests/1"]);
});

test("one that is too old, or not for this build, is pulled", async () => {
  const [all, registry] = [await machines(), await memoryRegistry()];
  const { directory, entry, text } = await warm(all, registry);
  await all.build("one", text, { cacheDirectory: directory, cache: false });
  expect(blobsAsked(registry)).toBeGreaterThan(0);
  const before = blobsAsked(registry);
  await utimes(entry, 1, 1);
  await all.build("two", text, { cacheDirectory: directory });
  expect(blobsAsked(registry)).toBeGreaterThan(before);
});

test("what is damaged or an archive is pulled", async () => {
  const [all, registry] = [await machines(), await memoryRegistry()];
  const { directory, entry, layer, text } = await warm(all, registry);
  await truncate(layer, 3);
  const short = await all.build("one", text, { cacheDirectory: directory });
  expect(short.notices).toEqual([]);
  expect(blobsAsked(registry)).toBe(1);
  await rename(entry, `${entry}.kept`);
  await writeFile(entry, "an archive");
  const archive = await all.build("two", text, { cacheDirectory: directory });
  expect(archive.notices).toEqual([
    `the image ${entry} is not used: it is no OCI layout; let the warmer write one`,
  ]);
  expect(blobsAsked(registry)).toBe(3);
});
