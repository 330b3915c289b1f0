import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createHashRing, HashRingWriter, serveHashRing } from "../../src/internal/hash-ring.js";
import { HashThreads, startHashThread } from "../../src/internal/hash-threads.js";
import { HASHING_IN_PLACE, HELD, WORTH_A_THREAD } from "../../src/internal/hashing.js";

const run = promisify(execFile);
/** Hashes said to be this large are taken by a thread from their first byte on. */
const LARGE = WORTH_A_THREAD;
const CONTENT = randomBytes(LARGE + 1_000_000);
let directory: string;
let file: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "tsbuild-hash-"));
  file = join(directory, "hash-thread.cjs");
  const entry = { in: "src/internal/hash-thread.ts", out: "hash-thread" };
  const user = { in: "src/internal/hash-threads.ts", out: "hash-threads" };
  await build({
    entryPoints: [entry, user],
    outdir: directory,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    format: "cjs",
    define: { "import.meta.url": "''" },
  });
});
afterAll(() => rm(directory, { recursive: true }));

function sha256(...chunks: readonly Uint8Array[]): string {
  return createHash("sha256").update(Buffer.concat(chunks)).digest("hex");
}

test("a thread hashes what another writes, whatever the chunks are", async () => {
  await using hashing = new HashThreads({ isSpare: true, most: 1, file });
  const ring = 1 << 20;
  for (const sizes of [
    [CONTENT.length],
    [1, 511, 262_144, 99_991],
    [65_536],
    [ring],
    [ring - 8, 3],
  ]) {
    for (const size of [LARGE, undefined]) {
      const hash = hashing.sha256(size);
      for (let at = 0, turn = 0; at < CONTENT.length; turn++) {
        const count = sizes[turn % sizes.length] ?? 1;
        hash.update(CONTENT.subarray(at, at + count));
        at += count;
      }
      expect(hash.digest()).toBe(sha256(CONTENT));
    }
  }
});

test("the bytes may be used again as soon as they were given", async () => {
  await using hashing = new HashThreads({ isSpare: true, most: 1, file });
  for (const size of [LARGE, undefined]) {
    const hash = hashing.sha256(size);
    const buffer = Buffer.alloc(300_000, 1);
    hash.update(buffer);
    buffer.fill(2);
    hash.update(buffer);
    buffer.fill(3);
    expect(hash.digest()).toBe(sha256(Buffer.alloc(300_000, 1), Buffer.alloc(300_000, 2)));
  }
});

test("many hashes at once, in any order, are each what createHash makes of its bytes", async () => {
  await using hashing = new HashThreads({ isSpare: true, most: 2, file });
  const step = fc.record({
    which: fc.nat(3),
    from: fc.nat(1000),
    count: fc.oneof(fc.nat(40), fc.constantFrom(131_072, 131_073, 1_048_568, 2_100_000)),
  });
  const known = fc.array(fc.boolean(), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(known, fc.array(step, { maxLength: 25 }), (sizes, steps) => {
      const hashes = sizes.map((isLarge) => hashing.sha256(isLarge ? LARGE : undefined));
      const expected = sizes.map(() => createHash("sha256"));
      for (const { which, from, count } of steps) {
        const chunk = CONTENT.subarray(from, from + count);
        hashes[which]?.update(chunk);
        expected[which]?.update(chunk);
      }
      // The first one is given up, as who fails does.
      hashes.shift()?.[Symbol.dispose]();
      const digests = expected.slice(1).map((hash) => hash.digest("hex"));
      expect(hashes.map((hash) => hash.digest())).toEqual(digests);
    }),
    { numRuns: 60 },
  );
});

test("nothing hashes to the digest of nothing", async () => {
  await using hashing = new HashThreads({ isSpare: true, most: 1, file });
  for (const hash of [hashing.sha256(), hashing.sha256(LARGE), HASHING_IN_PLACE.sha256()]) {
    expect(hash.digest()).toBe(sha256());
    hash[Symbol.dispose]();
  }
});

test("little is hashed without a thread", async () => {
  await using hashing = new HashThreads({
    isSpare: true,
    most: 1,
    file: join(directory, "absent.cjs"),
  });
  for (const [length, size] of [[LARGE - 1, LARGE - 1] as const, [HELD - 1, undefined] as const]) {
    const little = CONTENT.subarray(0, length);
    const hash = hashing.sha256(size);
    hash.update(little);
    expect(hash.digest()).toBe(sha256(little));
  }
});

test("where no thread can be had, the one that asks does the work", async () => {
  const broken = join(directory, "broken.cjs");
  await writeFile(broken, "throw new Error('not today');");
  for (const none of [join(directory, "absent.cjs"), broken]) {
    await using hashing = new HashThreads({ isSpare: true, most: 1, file: none });
    const hashes = [hashing.sha256(), hashing.sha256(LARGE)];
    for (const hash of hashes) hash.update(CONTENT);
    expect(hashes.map((hash) => hash.digest())).toEqual([sha256(CONTENT), sha256(CONTENT)]);
  }
});

test("a thread that comes too late finds nothing to do", () => {
  const ring = createHashRing();
  const writer = new HashRingWriter(ring);
  const id = writer.begin();
  writer.update(id, CONTENT);
  serveHashRing(ring);
  expect(writer.digest(id)).toBe(sha256(CONTENT));
});

test("who waits for a thread that is gone hears of it", async () => {
  const ring = createHashRing();
  const thread = startHashThread(ring, file);
  const writer = new HashRingWriter(ring);
  const id = writer.begin();
  writer.update(id, CONTENT);
  await thread[Symbol.asyncDispose]();
  expect(() => writer.update(id, CONTENT)).toThrow(/the thread for it ended/);
  expect(() => writer.digest(id)).toThrow(/the thread for it ended/);
  expect(() => writer.drop(id)).not.toThrow();
});

test("a thread that ends by itself is an error, not a wait without end", async () => {
  const dying = join(directory, "dying.cjs");
  const serve = `const { workerData } = require("node:worker_threads");
    const state = new Int32Array(workerData.hashRing, 0, 8);
    Atomics.compareExchange(state, 2, 0, 1);`;
  await writeFile(dying, serve);
  const ring = createHashRing();
  await using _thread = startHashThread(ring, dying);
  const state = new Int32Array(ring, 0, 8);
  while (Atomics.load(state, 2) < 3) await new Promise(setImmediate);
  const writer = new HashRingWriter(ring);
  expect(() => writer.update(writer.begin(), CONTENT)).toThrow(/the thread for it ended/);
});

test("a thread that has nothing to do does not keep its process", async () => {
  const script = `const { HashThreads } = require(${JSON.stringify(join(directory, "hash-threads.cjs"))});
    const hash = new HashThreads({ isSpare: true, most: 1, file: ${JSON.stringify(file)} }).sha256(${LARGE});
    hash.update(Buffer.alloc(3_000_000));
    console.log(hash.digest());`;
  const { stdout } = await run(process.execPath, ["-e", script]);
  expect(stdout.trim()).toBe(sha256(Buffer.alloc(3_000_000)));
});
