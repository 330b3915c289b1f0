import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WORTH_A_THREAD } from "../../src/internal/hashing.js";
import { HashBeside, hashingOver } from "../../src/worker/root-hash.js";
import { type Bundle, bundleForChildren } from "./snapshot-bundle.js";

const CONTENT = randomBytes(WORTH_A_THREAD + 1_000_000);
const DIGEST = createHash("sha256").update(CONTENT).digest("hex");
let bundle: Bundle;
beforeAll(async () => {
  bundle = await bundleForChildren();
});
afterAll(() => bundle[Symbol.dispose]());

const never = (): never => {
  throw new Error("nobody should ask");
};

test("the file of root threads hashes as well, from the first byte where it was started at once", async () => {
  await using beside = new HashBeside(bundle.threadFile);
  beside.start();
  const hash = hashingOver(beside.order, never).sha256();
  hash.update(CONTENT.subarray(0, 1));
  hash.update(CONTENT.subarray(1, 3_000_000));
  hash.update(CONTENT.subarray(3_000_000));
  expect(hash.digest()).toBe(DIGEST);
});

test("a thread is asked for once, when there is much", async () => {
  await using beside = new HashBeside(bundle.threadFile);
  let asked = 0;
  const ask = (): void => {
    asked += 1;
    beside.start();
  };
  const hashing = hashingOver(beside.order, ask, true);
  const little = hashing.sha256();
  little.update(CONTENT.subarray(0, 1000));
  little.digest();
  expect(asked).toBe(0);
  const hashes = [hashing.sha256(), hashing.sha256()];
  for (const hash of hashes) hash.update(CONTENT);
  expect(hashes.map((hash) => hash.digest())).toEqual([DIGEST, DIGEST]);
  expect(asked).toBe(1);
});

test("a thread that is asked for and does not come is not waited for", async () => {
  await using beside = new HashBeside(bundle.threadFile);
  const hash = hashingOver(beside.order, () => undefined, true).sha256();
  hash.update(CONTENT);
  expect(hash.digest()).toBe(DIGEST);
});
