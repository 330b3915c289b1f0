import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkStore, prune, storeUsage } from "../../src/index.js";
import { openStore } from "../../src/store/index.js";

const { signal } = new AbortController();
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-tend-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** A store with three blobs of a hundred thousand bytes. */
async function filled(): Promise<string> {
  const store = join(root, "store");
  await using opened = await openStore(store, signal);
  for (const value of [1, 2, 3]) {
    await opened.put(once(Buffer.alloc(100_000, value)), undefined, signal);
  }
  return store;
}

test("where there is no store, none is made, and there is nothing to say of it", async () => {
  const store = join(root, "absent");
  expect(await storeUsage({ store })).toMatchObject({ store, bytes: 0, entries: [], kinds: [] });
  expect(await prune({ store, all: true })).toMatchObject({ bytesFreed: 0, removed: [] });
  expect(await checkStore({ store })).toMatchObject({ checked: 0, faults: [] });
  expect(await readdir(root)).toEqual([]);
});

test("without a word what is below the bound stays, and what is above goes", async () => {
  const store = await filled();
  expect((await prune({ store })).removed).toEqual([]);
  const none = { TSBUILD_KEEP_STORAGE: "none" };
  expect((await prune({ store, environment: none })).removed).toEqual([]);
  const small = { TSBUILD_KEEP_STORAGE: "150k" };
  const pruned = await prune({ store, environment: small });
  expect(pruned.removed.map(({ kind }) => kind)).toEqual(["blobs", "blobs"]);
  expect(pruned.bytesLeft).toBeLessThanOrEqual(150 * 1024);
  expect((await storeUsage({ store })).bytes).toBe(pruned.bytesLeft);
});

test("all that is asked for has to allow that something goes", async () => {
  const store = await filled();
  expect((await prune({ store, all: true, olderThan: "1h" })).removed).toEqual([]);
  expect((await prune({ store, olderThan: 0, keepStorage: "150k" })).removed).toHaveLength(2);
});

test.each([
  [{ keepStorage: "much" }, /^keep-storage cannot be "much"/],
  [{ olderThan: "long" }, /^older-than cannot be "long"/],
  [{ kinds: ["other" as const] }, /^there is no kind "other" to prune/],
])("%j is refused before anything is opened", async (options, message) => {
  const store = join(root, "absent");
  await expect(prune({ store, ...options })).rejects.toThrow(message);
});
