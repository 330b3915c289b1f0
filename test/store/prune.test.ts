import { link, mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockDirectory } from "../../src/internal/directory-lock.js";
import { currentProcess, formatProcess } from "../../src/internal/process-identity.js";
import { diffIdFromHex, type Digest, hexOf } from "../../src/oci/digest.js";
import { openStore } from "../../src/store/index.js";
import { type PrunePolicy, type Pruned, pruneStore } from "../../src/store/prune.js";
import { measureStore, type Namespaces, totalBytes } from "../../src/store/usage.js";

const { signal } = new AbortController();
const HOUR = 3_600_000;
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-prune-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** Everything here belongs to the test's user. */
const namespaces: Namespaces = {
  measure: () => Promise.resolve(undefined),
  remove: () => Promise.resolve(),
};

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

/** A blob as an earlier build left it. */
async function oldBlob(text: string, hours: number): Promise<Digest> {
  await using store = await openStore(root, signal);
  const { digest } = await store.put(once(text), undefined, signal);
  await age(store.blobPath(digest), hours);
  return digest;
}

async function age(path: string, hours: number): Promise<void> {
  const time = new Date(Date.now() - hours * HOUR);
  await utimes(path, time, time);
}

async function oldLayer(name: string, hours: number): Promise<string> {
  await using store = await openStore(root, signal);
  const path = join(await store.layersDirectory("host"), name);
  await mkdir(join(path, "usr"), { recursive: true });
  await writeFile(join(path, "usr/file"), Buffer.alloc(100_000));
  await writeFile(`${path}.used`, "");
  await age(`${path}.used`, hours);
  return path;
}

async function prune(policy: PrunePolicy = {}, dryRun = false): Promise<Pruned> {
  await using store = await openStore(root, signal);
  const { staging } = store;
  return await pruneStore(root, {
    policy,
    namespaces,
    staging,
    isBuilding: false,
    dryRun,
    waits: true,
    signal,
  });
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
const names = ({ removed }: Pruned): readonly string[] => removed.map(({ name }) => name);

test("what no build uses goes, with the marks of layers, and what went is told with its size", async () => {
  const blob = await oldBlob("one", 1);
  const layer = await oldLayer("a".repeat(64), 2);
  const pruned = await prune();
  expect(names(pruned)).toEqual([blob, `host/${"a".repeat(64)}`]);
  expect(pruned.problems).toEqual([]);
  expect(pruned.removed[1]?.bytes).toBeGreaterThanOrEqual(100_000);
  expect(await isThere(layer)).toBe(false);
  expect(await readdir(join(root, "layers/host"))).toEqual([]);
  expect(await readdir(join(root, "blobs/sha256"))).toEqual([]);
  expect(await readdir(join(root, "staging"))).toEqual([]);
});

test("what a living build has looked up stays, and what it has not goes", async () => {
  const used = await oldBlob("used", 5);
  const unused = await oldBlob("unused", 5);
  await using build = await openStore(root, signal);
  expect(await build.stat(used)).toEqual({ size: 4 });
  expect(names(await prune())).toEqual([unused]);
  expect(await build.stat(used)).toEqual({ size: 4 });
});

test("what a build makes stays while the build lives, and goes after it", async () => {
  let made: Digest;
  {
    await using build = await openStore(root, signal);
    ({ digest: made } = await build.put(once("made"), undefined, signal));
    expect(names(await prune())).toEqual([]);
  }
  expect(names(await prune())).toEqual([made]);
});

test("with a size to keep, what was not used for longest goes", async () => {
  const oldest = await oldBlob("x".repeat(4000), 30);
  const older = await oldBlob("y".repeat(4000), 20);
  const newest = await oldBlob("z".repeat(4000), 10);
  const keepBytes = (bytes: number): Promise<number> => Promise.resolve(bytes - 5000);
  const pruned = await prune({ keepBytes });
  expect(names(pruned)).toEqual([oldest, older]);
  expect(await isThere(join(root, "blobs/sha256", hexOf(newest)))).toBe(true);
  const left = await measureStore(root, { namespaces, signal });
  expect(totalBytes(left)).toBe(pruned.bytesLeft);
});

test("what many things share is freed with no more of them than that takes", async () => {
  const first = await oldBlob("s".repeat(100_000), 30);
  const layer = await oldLayer("f".repeat(64), 1);
  await link(join(root, "blobs/sha256", hexOf(first)), join(layer, "layer.tar"));
  const second = await oldBlob("t".repeat(100_000), 20);
  await oldBlob("u".repeat(100_000), 10);
  const keepBytes = (bytes: number): Promise<number> => Promise.resolve(bytes - 90_000);
  // The oldest blob's bytes are the layer's too: it takes the next one to free any.
  expect(names(await prune({ keepBytes }))).toEqual([first, second]);
});

test("who does not wait for another that cleans up does nothing", async () => {
  await oldBlob("blob", 25);
  await using _other = await lockDirectory(join(root, "prune-lock"), signal);
  await using store = await openStore(root, signal);
  const options = { policy: {}, namespaces, staging: store.staging, isBuilding: true };
  const pruned = await pruneStore(root, { ...options, dryRun: false, waits: false, signal });
  expect(pruned.removed).toEqual([]);
});

test("with an age, what was used since stays", async () => {
  const old = await oldBlob("old", 25);
  await oldBlob("young", 23);
  expect(names(await prune({ olderThanMs: 24 * HOUR }))).toEqual([old]);
});

test("of kinds that are not asked for nothing goes", async () => {
  await oldBlob("blob", 25);
  await oldLayer("b".repeat(64), 25);
  const pruned = await prune({ kinds: new Set(["layers"]) });
  expect(pruned.removed.map(({ kind }) => kind)).toEqual(["layers"]);
});

test("a file with a name in two things counts once, and is freed with the last of them", async () => {
  const blob = await oldBlob("y".repeat(40_000), 3);
  const layer = await oldLayer("c".repeat(64), 1);
  await link(join(root, "blobs/sha256", hexOf(blob)), join(layer, "layer.tar"));
  const before = totalBytes(await measureStore(root, { namespaces, signal }));
  const first = await prune({ kinds: new Set(["blobs"]) });
  expect(names(first)).toEqual([blob]);
  expect(first).toMatchObject({ bytesFreed: 0, bytesLeft: before });
  const second = await prune({ kinds: new Set(["layers"]) });
  expect(second.bytesFreed).toBe(before - second.bytesLeft);
  expect(second.bytesFreed).toBeGreaterThanOrEqual(140_000);
});

test("a dry run tells what would go, and leaves it", async () => {
  const blob = await oldBlob("blob", 25);
  expect(names(await prune({}, true))).toEqual([blob]);
  expect(await isThere(join(root, "blobs/sha256", hexOf(blob)))).toBe(true);
});

test("a blob was used when a record of it was, and takes its record along", async () => {
  const kept = await oldBlob("kept", 50);
  const gone = await oldBlob("gone", 50);
  const record = async (name: string, digest: Digest, hours: number): Promise<string> => {
    const path = join(root, "records", name.slice(0, 2), name);
    await mkdir(join(path, ".."), { recursive: true });
    const layers = [{ digest, diffId: diffIdFromHex("c".repeat(64)) }];
    await writeFile(path, JSON.stringify({ layers }));
    await age(path, hours);
    return path;
  };
  const [fresh, stale] = [await record("aa1", kept, 1), await record("bb2", gone, 40)];
  const pruned = await prune({ olderThanMs: 24 * HOUR, kinds: new Set(["blobs"]) });
  expect(names(pruned).toSorted()).toEqual(["bb/bb2", gone].toSorted());
  expect([await isThere(fresh), await isThere(stale)]).toEqual([true, false]);
});

test("what a process that is dead was deleting, or working on, goes too", async () => {
  const dead = `${formatProcess({ ...currentProcess(), startTicks: "1" })}-19800000000-0123456789ab`;
  await oldLayer("d".repeat(64), 1);
  const half = join(root, "layers/host", `removed-${dead}`);
  await mkdir(join(half, "usr"), { recursive: true });
  await mkdir(join(root, "staging", dead, "scratch"), { recursive: true });
  const temporary = join(root, `.usage.json.tsbuild-${dead.replace("-19800000000", "")}`);
  await writeFile(temporary, "{");
  await using store = await openStore(root, signal);
  expect(await store.abandoned()).toEqual([join(root, "staging", dead), half]);
  await prune({ olderThanMs: 10 * HOUR });
  expect(await isThere(half)).toBe(false);
  expect(await isThere(join(root, "staging", dead))).toBe(false);
  expect(await isThere(temporary)).toBe(false);
  expect(await isThere(join(root, "layers/host", "d".repeat(64)))).toBe(true);
});

test("a build that cannot mark what it uses keeps everything", async () => {
  const blob = await oldBlob("blob", 25);
  await using build = await openStore(root, signal);
  await writeFile(join(build.staging, "keep-all"), "");
  expect(names(await prune())).toEqual([]);
  expect(await build.stat(blob)).toEqual({ size: 4 });
});

test("what is begun to be taken while a build looks it up is either gone for it, or stays to its end", async () => {
  const stop = new AbortController();
  const pruning = (async () => {
    let count = 0;
    while (!stop.signal.aborted) count += (await prune()).removed.length;
    return count;
  })();
  const texts = Array.from({ length: 12 }, (_, at) => `content ${at}`);
  let [hits, misses] = [0, 0];
  const build = async (): Promise<void> => {
    await using store = await openStore(root, signal);
    const digests: Digest[] = [];
    for (const text of texts) {
      const { digest } = await store.put(once(text), undefined, signal);
      digests.push(digest);
    }
    // And one that an earlier build may have left.
    for (const text of texts.map((one) => `${one} of all`)) {
      const known = await store.put(once(text), undefined, signal);
      digests.push(known.digest);
    }
    for (const digest of digests) {
      for await (const chunk of store.get(digest, signal)) expect(chunk.length).toBeGreaterThan(0);
    }
  };
  const look = async (digest: Digest): Promise<void> => {
    await using store = await openStore(root, signal);
    if ((await store.stat(digest)) === undefined) misses += 1;
    else {
      hits += 1;
      for (let read = 0; read < 3; read++) {
        for await (const chunk of store.get(digest, signal)) expect(chunk.length).toBe(9);
      }
    }
  };
  for (let round = 0; round < 15; round++) {
    const digest = await oldBlob("looked up", 1);
    await Promise.all([build(), look(digest), look(digest)]);
  }
  stop.abort();
  expect(await pruning).toBeGreaterThan(0);
  expect(hits + misses).toBe(30);
});
