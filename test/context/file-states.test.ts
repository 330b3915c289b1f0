import { execFileSync } from "node:child_process";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { digestDirectory } from "../../src/context/directory-digest.js";
import { DirectoryTree } from "../../src/context/directory-tree.js";
import { FileStates, isStateSettled, STATE_WORDS } from "../../src/context/file-states.js";
import { hasSettledSince, isSettled, settledBefore } from "../../src/internal/settled.js";
import { loadStatx } from "../../src/worker/linux/statx.js";

/** More looks than are made before the faster call is loaded. */
const MANY = 5_000;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-states-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("both ways to look give the same state of every type of file", () => {
  const at = (name: string): string => join(root, name);
  writeFileSync(at("file"), "content", { mode: 0o640 });
  writeFileSync(at("old"), "");
  utimesSync(at("old"), -1.5, -1.5);
  writeFileSync(at("first"), "");
  linkSync(at("first"), at("second"));
  mkdirSync(at("directory"));
  symlinkSync("nowhere", at("link"));
  execFileSync("mkfifo", [at("pipe")]);
  const slow = new FileStates(() => undefined);
  const fast = new FileStates(loadStatx);
  for (let i = 0; i < MANY; i++) fast.look(root, new Uint32Array(STATE_WORDS), 0);
  const expected = new Map([
    ["file", "other"],
    ["old", "other"],
    ["second", "linked"],
    ["directory", "directory"],
    ["link", "other"],
    ["pipe", "other"],
    ["none", "gone"],
  ]);
  for (const path of [
    ...[...expected.keys()].map(at),
    "/dev/null",
    "/dev/tty",
    "/proc/self/status",
  ]) {
    const [one, other] = [new Uint32Array(STATE_WORDS + 1), new Uint32Array(STATE_WORDS + 1)];
    const look = slow.look(path, one, 1);
    expect(fast.look(path, other, 1)).toBe(look);
    if (path.startsWith(root)) expect(look).toBe(expected.get(path.slice(root.length + 1)));
    expect(other).toEqual(one);
  }
  expect(() => fast.look(join(root, "file/below"), new Uint32Array(STATE_WORDS), 0)).toThrow(
    "ENOTDIR",
  );
});

test("the faster call is there, and loaded only for many files", () => {
  let loads = 0;
  const states = new FileStates(() => {
    loads += 1;
    return loadStatx();
  });
  const words = new Uint32Array(STATE_WORDS);
  for (let i = 0; i < 2_000; i++) states.look(root, words, 0);
  expect(loads).toBe(0);
  for (let i = 0; i < 1_000; i++) states.look(root, words, 0);
  expect(loads).toBe(1);
  expect(loadStatx()).toBeDefined();
});

test("a state says what the times themselves say of being settled", () => {
  const path = join(root, "f");
  writeFileSync(path, "");
  const now = Date.now();
  const words = new Uint32Array(STATE_WORDS);
  utimesSync(path, now / 1000 - 1000, now / 1000 - 1000);
  new FileStates(() => undefined).look(path, words, 0);
  // Its ctime is now.
  expect(isStateSettled(words, 0, now)).toBe(false);
  expect(isStateSettled(words, 0, now + 10_000)).toBe(true);
  utimesSync(path, now / 1000 + 1000, now / 1000 + 1000);
  new FileStates(() => undefined).look(path, words, 0);
  expect(isStateSettled(words, 0, now + 10_000)).toBe(false);
});

test("times in two numbers are settled when those in one are", () => {
  const NOW = 1_700_000_000_123;
  const age = fc.oneof(fc.integer({ min: -5_000_000, max: 5_000_000 }), fc.integer());
  fc.assert(
    fc.property(age, fc.boolean(), (us, isWhole) => {
      const exact = BigInt(NOW) * 1_000_000n - BigInt(us) * 1_000n;
      const time = isWhole ? exact - (exact % 1_000_000_000n) : exact;
      const [seconds, nanoseconds] = [time / 1_000_000_000n, time % 1_000_000_000n];
      // Within the microsecond that a number of milliseconds holds, either answer will do.
      if ([100_000, 2_000_000].some((limit) => Math.abs(us - limit) < 2)) return;
      expect(hasSettledSince(Number(seconds), Number(nanoseconds), NOW)).toBe(
        isSettled(time, settledBefore(NOW)),
      );
    }),
  );
});

test("a directory of many files is known by each of them, and a file with two names by none", async () => {
  const FILES = 600;
  for (let i = 0; i < FILES; i++) writeFileSync(join(root, `file-${i}`), `${i}`);
  const known = new Map<string, string>();
  const files = { get: () => undefined, set: () => undefined };
  const digest = (): Promise<string | undefined> =>
    digestDirectory(new DirectoryTree(root, { name: "context" }), "", {
      memory: {
        files,
        directories: { get: (key) => known.get(key), set: (key, value) => known.set(key, value) },
      },
      statx: loadStatx,
      signal: new AbortController().signal,
    });
  await new Promise((resolve) => setTimeout(resolve, 150));
  const first = await digest();
  expect(known.size).toBe(1);
  expect(await digest()).toBe(first);
  for (const i of [0, 255, 256, 511, FILES - 1]) {
    const before = await digest();
    writeFileSync(join(root, `file-${i}`), `${i}+`);
    expect(await digest()).not.toBe(before);
  }
  linkSync(join(root, "file-300"), join(root, "linked"));
  expect(await digest()).toBeUndefined();
});
