import { mkdir, mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openUses, whileTaking } from "../../src/internal/in-use.js";
import { currentProcess, formatProcess } from "../../src/internal/process-identity.js";

const LONG_AGO = new Date("2020-01-01T00:00:00Z");
let root: string;
let staging: string;
let thing: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-in-use-"));
  staging = join(root, "staging/build");
  await mkdir(staging, { recursive: true });
  thing = join(root, "thing");
  await writeFile(thing, "bytes");
  await utimes(thing, LONG_AGO, LONG_AGO);
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** In whole milliseconds, since a time set from a Date comes back a fraction of a microsecond early. */
const timeOf = async (path: string): Promise<number> => Math.round((await stat(path)).mtimeMs);

test("what is used has the time of its use, once for a build", async () => {
  const uses = openUses(staging);
  const before = Date.now();
  expect((await uses.use(thing))?.size).toBe(5);
  expect(await timeOf(thing)).toBeGreaterThanOrEqual(before);
  await utimes(thing, LONG_AGO, LONG_AGO);
  expect((await uses.use(thing))?.size).toBe(5);
  expect(await timeOf(thing)).toBe(LONG_AGO.getTime());
});

test("a mark beside it leaves the thing's own time alone, and is only made for what is there", async () => {
  const uses = openUses(staging);
  expect(await uses.use(thing, `${thing}.used`)).toBeDefined();
  expect(await timeOf(thing)).toBe(LONG_AGO.getTime());
  expect(await timeOf(`${thing}.used`)).toBeGreaterThan(LONG_AGO.getTime());
  expect(await uses.use(join(root, "absent"), join(root, "absent.used"))).toBeUndefined();
  await expect(stat(join(root, "absent.used"))).rejects.toThrow("ENOENT");
  expect(await uses.use(join(root, "absent"))).toBeUndefined();
});

test("who looks while something is taken waits, and finds it gone", async () => {
  const uses = openUses(staging);
  let isDone = false;
  let begin = (): void => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const taking = whileTaking(root, async () => {
    begin();
    await sleep(150);
    await rm(thing);
    isDone = true;
  });
  await begun;
  expect(await uses.use(thing)).toBeUndefined();
  expect(isDone).toBe(true);
  await taking;
});

test.each([
  ["is dead", () => ({ ...currentProcess(), startTicks: "1" }), new Date()],
  ["cannot be asked and is late", () => ({ ...currentProcess(), bootId: "0abc" }), LONG_AGO],
])("nobody waits for who %s", async (_, owner, time) => {
  const taking = join(root, "taking");
  await writeFile(taking, formatProcess(owner()));
  await utimes(taking, time, time);
  // Beside somebody who waits, and would be done first.
  const living = join(root, "other");
  await mkdir(living);
  let waited = false;
  await whileTaking(living, async () => {
    const waiting = openUses(join(living, "staging/build")).use(thing);
    void waiting.then(() => (waited = true));
    expect(await openUses(staging).use(thing)).toBeDefined();
    expect(waited).toBe(false);
  });
});
