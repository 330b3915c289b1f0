import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashInto, startHashThread } from "../../src/worker/root-hash.js";
import { type Bundle, bundleForChildren } from "./snapshot-bundle.js";

let bundle: Bundle;
beforeAll(async () => {
  bundle = await bundleForChildren();
});
afterAll(() => bundle[Symbol.dispose]());

test("a thread hashes what another writes, whatever the chunks are", async () => {
  const content = randomBytes(5_000_000);
  for (const sizes of [[content.length], [1, 511, 262_144, 99_991], [65_536], [3_000_000, 1]]) {
    await using thread = startHashThread(bundle.threadFile);
    const hash = hashInto(thread.ring);
    for (let at = 0, turn = 0; at < content.length; turn++) {
      const size = sizes[turn % sizes.length] ?? 1;
      hash.update(content.subarray(at, at + size));
      at += size;
    }
    expect(hash.digest()).toBe(createHash("sha256").update(content).digest("hex"));
  }
});

test("nothing hashes to the digest of nothing", async () => {
  await using thread = startHashThread(bundle.threadFile);
  expect(hashInto(thread.ring).digest()).toBe(createHash("sha256").digest("hex"));
});

test("who waits for a hashing thread that is gone hears of it", async () => {
  const thread = startHashThread(bundle.threadFile);
  const hash = hashInto(thread.ring);
  hash.update(Buffer.alloc(1000));
  await thread[Symbol.asyncDispose]();
  expect(() => hash.update(Buffer.alloc(5_000_000))).toThrow(/the thread for it ended/);
  expect(() => hash.digest()).toThrow(/the thread for it ended/);
});
