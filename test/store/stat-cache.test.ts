import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RECORD_SIZE } from "../../src/store/digest-table.js";
import { createStatCache } from "../../src/store/stat-cache.js";
import type { StatCache } from "../../src/store/types.js";

/** More than one page of records. */
const FILES = 5_000;

let directory: string;
let names: number;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "tsbuild-stat-"));
  names = 0;
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("what was known of thousands of files is known again", async () => {
  const first = open();
  for (let at = 0; at < FILES; at++) first.files.set(state(at), digest(at), true);
  first.directories.set("directory", digest(0), true);
  await first.save();
  const second = open();
  for (let at = 0; at < FILES; at++) expect(second.files.get(state(at))).toBe(digest(at));
  expect(second.files.get(state(FILES))).toBeUndefined();
  expect(second.directories.get("directory")).toBe(digest(0));
  expect((await readdir(directory)).filter((name) => name.endsWith(".stat"))).toEqual([]);
});

test("what is good for one build alone is not written, wherever it stands", async () => {
  const first = open();
  for (let at = 0; at < FILES; at++) first.files.set(state(at), digest(at), at % 2 === 0);
  await first.save();
  const second = open();
  for (let at = 0; at < FILES; at++) {
    expect(second.files.get(state(at))).toBe(at % 2 === 0 ? digest(at) : undefined);
  }
});

test("what cannot be written is no failure, and leaves what was known", async () => {
  const first = open();
  first.files.set(state(0), digest(0), true);
  await first.save();
  const second = open();
  second.files.set(state(1), digest(1), true);
  // Its temporary file is there already.
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${names}.stat`), "");
  await second.save();
  const third = open();
  expect(third.files.get(state(0))).toBe(digest(0));
  expect(third.files.get(state(1))).toBeUndefined();
});

test.each<[string, (file: string) => Promise<void>]>([
  ["is shorter", async (file) => truncate(file, (await stat(file)).size - RECORD_SIZE)],
  ["ends early", async (file) => truncate(file, 3)],
  ["is empty", (file) => truncate(file, 0)],
  ["is of an earlier form", (file) => writeFile(file, `${state(0)} ${digest(0)}\n`)],
  [
    "has another byte",
    async (file) => {
      const bytes = await readFile(file);
      bytes[50] = (bytes[50] ?? 0) ^ 1;
      await writeFile(file, bytes);
    },
  ],
  [
    "holds zeros, as after the machine went down",
    async (file) => writeFile(file, Buffer.alloc((await stat(file)).size)),
  ],
])("of a file that %s nothing is believed, and it is written anew", async (_, damage) => {
  const first = open();
  for (let at = 0; at < 10; at++) first.files.set(state(at), digest(at), true);
  await first.save();
  const [name = ""] = (await readdir(join(directory, "kept"))).filter((file) =>
    file.endsWith(".files"),
  );
  await damage(join(directory, "kept", name));
  const second = open();
  for (let at = 0; at < 10; at++) expect(second.files.get(state(at))).toBeUndefined();
  second.files.set(state(5), digest(5), true);
  await second.save();
  expect(open().files.get(state(5))).toBe(digest(5));
});

test("what was set last counts, and what is no digest is not kept", () => {
  const cache = open();
  cache.files.set(state(1), digest(1), true);
  cache.files.set(state(1), digest(2), false);
  cache.files.set(state(3), "", true);
  expect(cache.files.get(state(1))).toBe(digest(2));
  expect(cache.files.get(state(3))).toBeUndefined();
});

test("more than there is room for is left out; what an earlier build alone needed goes first", async () => {
  const ROOM = 6_000;
  const knows = (cache: StatCache, from: number, to: number): number => {
    let count = 0;
    for (let at = from; at < to; at++) if (cache.files.get(state(at)) === digest(at)) count++;
    return count;
  };
  const first = open(ROOM);
  for (let at = 0; at < ROOM + 100; at++) first.files.set(state(at), digest(at), true);
  expect(knows(first, 0, ROOM)).toBe(ROOM);
  expect(first.files.get(state(ROOM))).toBeUndefined();
  await first.save();
  const [name = ""] = (await readdir(join(directory, "kept"))).filter((file) =>
    file.endsWith(".files"),
  );
  const { size } = await stat(join(directory, "kept", name));
  expect(size).toBeLessThan((ROOM + 1) * RECORD_SIZE);
  const second = open(ROOM);
  expect(knows(second, 5, 4_500)).toBe(4_495);
  for (let at = ROOM; at < ROOM + 1_000; at++) second.files.set(state(at), digest(at), true);
  await second.save();
  const third = open(ROOM);
  expect(knows(third, 0, 5)).toBe(0);
  expect(knows(third, 5, 4_500)).toBe(4_495);
  expect(knows(third, 4_500, ROOM)).toBe(0);
  expect(knows(third, ROOM, ROOM + 1_000)).toBe(1_000);
});

function open(room?: number): StatCache {
  const staging = (suffix: string): string => join(directory, `${names++}${suffix}`);
  return createStatCache(join(directory, "kept"), "context", staging, room);
}

function state(at: number): string {
  return `/context/file-${at}:1234:${at}:1700000000000000000`;
}

function digest(at: number): string {
  return createHash("sha256").update(String(at)).digest("hex");
}
