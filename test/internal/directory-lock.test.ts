import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockDirectory } from "../../src/internal/directory-lock.js";
import { currentProcess, formatProcess } from "../../src/internal/process-identity.js";

const { signal } = new AbortController();
const HEX = "0123456789ab";

let root: string;
let directory: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-lock-"));
  directory = join(root, "lock");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("lets one in at a time, and each of them", async () => {
  let inside = 0;
  let most = 0;
  let done = 0;
  const one = async (): Promise<void> => {
    await using _lock = await lockDirectory(directory, signal);
    inside++;
    most = Math.max(most, inside);
    await setTimeout(2);
    inside--;
    done++;
  };
  await Promise.all(Array.from({ length: 12 }, one));
  expect([most, done]).toEqual([1, 12]);
  expect(readdirSync(directory)).toEqual([]);
});

test("is left by who stops waiting", async () => {
  const stop = new AbortController();
  await using _lock = await lockDirectory(directory, signal);
  const waiting = lockDirectory(directory, stop.signal);
  await setTimeout(30);
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  expect(readdirSync(directory)).toHaveLength(1);
});

test("does not wait for the dead: a process that ended, or another machine's without a sign of life", async () => {
  const child = spawn("true");
  const pid = child.pid ?? 0;
  await new Promise((resolve) => child.on("close", resolve));
  const self = currentProcess();
  const dead = formatProcess({ ...self, pid });
  const elsewhere = formatProcess({ ...self, bootId: "abcdef" });
  mkdirSync(directory);
  const leave = (name: string): string => {
    const path = join(directory, name);
    writeFileSync(path, "");
    return path;
  };
  leave(`000000000000001-${dead}-${HEX}`);
  leave(`choosing-${dead}-${HEX}`);
  const silent = leave(`000000000000002-${elsewhere}-${HEX}`);
  const past = Date.now() / 1000 - 120;
  utimesSync(silent, past, past);
  leave("something else");
  await using _lock = await lockDirectory(directory, signal);
  expect(readdirSync(directory)).toHaveLength(2);
});

test("waits for another machine's process that lives", async () => {
  mkdirSync(directory);
  const elsewhere = formatProcess({ ...currentProcess(), bootId: "abcdef" });
  const path = join(directory, `000000000000007-${elsewhere}-${HEX}`);
  writeFileSync(path, "");
  let entered = false;
  const waiting = lockDirectory(directory, signal).then((lock) => {
    entered = true;
    return lock;
  });
  await setTimeout(100);
  expect(entered).toBe(false);
  rmSync(path);
  await using _lock = await waiting;
});
