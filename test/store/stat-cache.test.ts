import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createStatCache } from "../../src/store/stat-cache.js";
import type { StatCache } from "../../src/store/types.js";

/** Some 650 KiB of lines: many writes. */
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

function open(): StatCache {
  return createStatCache(join(directory, "kept"), "context", (suffix) =>
    join(directory, `${names++}${suffix}`),
  );
}

function state(at: number): string {
  return `/context/file-${at}:1234:${at}:1700000000000000000`;
}

function digest(at: number): string {
  return createHash("sha256").update(String(at)).digest("hex");
}
