import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { currentProcess, formatProcess } from "../../src/internal/process-identity.js";
import { diffIdFromHex, digestFromHex, digestOf, hexOf } from "../../src/oci/digest.js";
import type { Descriptor } from "../../src/oci/types.js";
import { openStore } from "../../src/store/index.js";
import { startScript } from "./child.js";

const { signal } = new AbortController();
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-store-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function* chunks(...parts: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

function descriptorOf(bytes: Uint8Array | string): Descriptor {
  return {
    mediaType: "application/octet-stream",
    digest: digestOf(bytes),
    size: Buffer.from(bytes).byteLength,
  };
}

async function text(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of bytes) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function errorOf(work: Promise<unknown>): Promise<TsbuildError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TsbuildError);
  return error as TsbuildError;
}

test("a blob is stored under its digest and read back", async () => {
  await using store = await openStore(root, signal);
  const put = await store.put(chunks("hello ", "", "world"), undefined, signal);
  expect(put).toEqual({ digest: digestOf("hello world"), size: 11 });
  expect(await store.stat(put.digest)).toEqual({ size: 11 });
  expect(await text(store.get(put.digest, signal))).toBe("hello world");
  expect(await readFile(store.blobPath(put.digest), "utf8")).toBe("hello world");
  expect(await readdir(store.staging)).toEqual([]);
});

test("a blob can be read while it comes, under the name that it has until then", async () => {
  await using store = await openStore(root, signal);
  const seen: string[] = [];
  let file = "";
  async function* coming(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(300_000, "a");
    for (let size = 0; size === 0; await sleep(1)) ({ size } = await stat(file));
    seen.push((await readFile(file, "utf8")).slice(0, 1));
    yield Buffer.from("b");
  }
  const { digest } = await store.put(coming(), undefined, signal, {
    onFile: (path) => (file = path),
  });
  expect(seen).toEqual(["a"]);
  await expect(stat(file)).rejects.toThrow("ENOENT");
  expect(await store.stat(digest)).toEqual({ size: 300_001 });
});

test("chunks of every size arrive whole, also when their owner reuses one buffer", async () => {
  await using store = await openStore(root, signal);
  const expected = createHash("sha256");
  let size = 0;
  async function* source(): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.alloc(700_001);
    for (const length of [1, 262_143, 1, 262_144, 700_001, 5, 65_536, 65_536]) {
      buffer.fill(length % 251);
      const chunk = buffer.subarray(0, length);
      expected.update(chunk);
      size += length;
      yield chunk;
    }
  }
  const { digest } = await store.put(source(), undefined, signal);
  expect(digest).toBe(`sha256:${expected.digest("hex")}`);
  expect(await store.stat(digest)).toEqual({ size });
  await text(store.get(digest, signal)); // The end of it verifies.
});

test("an empty blob is a blob", async () => {
  await using store = await openStore(root, signal);
  const { digest, size } = await store.put(chunks(), descriptorOf(""), signal);
  expect(size).toBe(0);
  expect(await text(store.get(digest, signal))).toBe("");
});

test("what is stored already is not read again, and its source is closed", async () => {
  await using store = await openStore(root, signal);
  const expected = descriptorOf("same");
  await store.put(chunks("same"), expected, signal);
  let closed = false;
  const source: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.reject(new Error("it was read")),
      return: () => {
        closed = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    }),
  };
  expect(await store.put(source, expected, signal)).toEqual({ digest: expected.digest, size: 4 });
  expect(closed).toBe(true);
});

test.each([
  ["other bytes of the same length", "evil"],
  ["fewer bytes", "abc"],
  ["more bytes", "abcde"],
])("%s than the descriptor's are refused and leave nothing", async (_, content) => {
  await using store = await openStore(root, signal);
  const error = await errorOf(store.put(chunks(content), descriptorOf("abcd"), signal));
  expect(error.code).toBe("STORE_FAILED");
  expect(error.message).toContain(digestOf("abcd"));
  expect(await store.stat(digestOf("abcd"))).toBeUndefined();
  expect(await store.stat(digestOf(content))).toBeUndefined();
  expect(await readdir(store.staging)).toEqual([]);
});

test("a source that says that it looks at its bytes is believed, but for their number", async () => {
  await using store = await openStore(root, signal);
  const expected = descriptorOf("abcd");
  const put = (bytes: AsyncIterable<Uint8Array>): ReturnType<typeof store.put> =>
    store.put(bytes, expected, signal, { isVerified: true });
  async function* refusing(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("evil");
    throw new Error("these are others");
  }
  await expect(put(refusing())).rejects.toThrow("these are others");
  for (const content of ["abc", "abcde"])
    expect((await errorOf(put(chunks(content)))).code).toBe("STORE_FAILED");
  expect(await store.stat(expected.digest)).toBeUndefined();
  expect(await readdir(store.staging)).toEqual([]);
  expect(await put(chunks("abcd"))).toEqual({ digest: expected.digest, size: 4 });
});

test("a source is stopped as soon as it is longer than its descriptor", async () => {
  await using store = await openStore(root, signal);
  let given = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      given += 1;
      yield Buffer.alloc(1000);
    }
  }
  const expected = { ...descriptorOf("x"), size: 2500 };
  expect((await errorOf(store.put(endless(), expected, signal))).code).toBe("STORE_FAILED");
  expect(given).toBe(3);
});

test("an error of the source passes through as it is", async () => {
  await using store = await openStore(root, signal);
  const failure = new Error("connection reset");
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(300_000);
    throw failure;
  }
  await expect(store.put(source(), undefined, signal)).rejects.toBe(failure);
  expect(await readdir(store.staging)).toEqual([]);
});

test("an abort stops a put and a get with its reason", async () => {
  await using store = await openStore(root, signal);
  const abort = new AbortController();
  const reason = new Error("stop");
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(10);
    abort.abort(reason);
    yield Buffer.alloc(10);
  }
  await expect(store.put(source(), undefined, abort.signal)).rejects.toBe(reason);
  expect(await readdir(store.staging)).toEqual([]);
  const { digest } = await store.put(chunks("x"), undefined, signal);
  await expect(text(store.get(digest, abort.signal))).rejects.toBe(reason);
  expect(await store.stat(digest)).toEqual({ size: 1 });
});

test("a damaged blob is noticed at the end, removed, and can be put again", async () => {
  await using store = await openStore(root, signal);
  const { digest } = await store.put(chunks("content"), undefined, signal);
  await writeFile(store.blobPath(digest), "cOntent");
  const error = await errorOf(text(store.get(digest, signal)));
  expect(error.code).toBe("STORE_FAILED");
  expect(error.message).toContain(store.blobPath(digest));
  expect(error.hint).toContain("build again");
  expect(await store.stat(digest)).toBeUndefined();
  await store.put(chunks("content"), descriptorOf("content"), signal);
  expect(await text(store.get(digest, signal))).toBe("content");
});

test("what came in through the same object is hashed once, what others stored whenever it is read", async () => {
  await using store = await openStore(root, signal);
  const { digest } = await store.put(chunks("content"), undefined, signal);
  await writeFile(store.blobPath(digest), "cOntent");
  expect(await text(store.getFresh(digest, signal))).toBe("cOntent");
  expect(await store.stat(digest)).toEqual({ size: 7 });
  await using other = await openStore(root, signal);
  expect((await errorOf(text(other.getFresh(digest, signal)))).code).toBe("STORE_FAILED");
  expect(await store.stat(digest)).toBeUndefined();
});

test("a blob that a crash of the machine cut short is replaced by the next put", async () => {
  await using store = await openStore(root, signal);
  const expected = descriptorOf("content");
  await writeFile(store.blobPath(expected.digest), "");
  await store.put(chunks("content"), expected, signal);
  expect(await text(store.get(expected.digest, signal))).toBe("content");
});

test("a read that ends early neither verifies nor removes", async () => {
  await using store = await openStore(root, signal);
  const { digest } = await store.put(chunks(Buffer.alloc(600_000)), undefined, signal);
  for await (const _ of store.get(digest, signal)) break;
  expect(await store.stat(digest)).toEqual({ size: 600_000 });
});

test("an absent blob has no stat, and reading it says so", async () => {
  await using store = await openStore(root, signal);
  expect(await store.stat(digestOf("absent"))).toBeUndefined();
  const error = await errorOf(text(store.get(digestOf("absent"), signal)));
  expect(error.code).toBe("STORE_FAILED");
  expect(error.message).toContain("does not have it");
});

test("finished files of the staging directory become blobs and indexes", async () => {
  await using store = await openStore(root, signal);
  const blob = store.stagingPath("layer.tar.gz");
  await writeFile(blob, "layer");
  await store.adoptBlob(blob, digestOf("layer"));
  expect(await text(store.get(digestOf("layer"), signal))).toBe("layer");

  const diffId = diffIdFromHex(hexOf(digestOf("tar")));
  expect(await store.findIndex(diffId)).toBeUndefined();
  const index = store.stagingPath("index");
  await writeFile(index, "entries");
  await store.adoptIndex(index, diffId);
  expect(await readFile((await store.findIndex(diffId)) ?? "", "utf8")).toBe("entries");
  expect(await readdir(store.staging)).toEqual([]);
  expect((await errorOf(store.adoptBlob(blob, digestOf("layer")))).code).toBe("STORE_FAILED");
});

test("names in the staging directory never repeat and never leave it", async () => {
  await using store = await openStore(root, signal);
  const names = ["x", "x", "../../x", "a b"].map((suffix) => store.stagingPath(suffix));
  expect(new Set(names).size).toBe(4);
  for (const name of names) expect(join(name, "..")).toBe(store.staging);
});

test("unpacked layers have a directory for each id map, which only its owner enters", async () => {
  await using store = await openStore(root, signal);
  const [a, b] = [await store.layersDirectory("id-0-0-1"), await store.layersDirectory("full")];
  expect(a).not.toBe(b);
  expect(await store.layersDirectory("full")).toBe(b);
  expect((await stat(join(root, "layers"))).mode & 0o777).toBe(0o700);
  expect((await errorOf(store.layersDirectory("../up"))).code).toBe("INTERNAL");
});

test("caches of steps have a directory for each id map, which only its owner enters", async () => {
  await using store = await openStore(root, signal);
  const path = await store.cachesDirectory("full");
  expect(path).toBe(join(root, "caches", "full"));
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  expect((await errorOf(store.cachesDirectory("../up"))).code).toBe("INTERNAL");
});

test("disposing deletes the staging directory, with read-only directories in it, and nothing else", async () => {
  const store = await openStore(root, signal);
  const { digest } = await store.put(chunks("kept"), undefined, signal);
  await mkdir(join(store.staging, "upper/deep"), { recursive: true });
  await writeFile(join(store.staging, "upper/deep/file"), "");
  await mkdir(join(store.staging, "upper/locked"), { mode: 0o000 });
  await using other = await openStore(root, signal);
  await store[Symbol.asyncDispose]();
  expect(await readdir(join(root, "staging"))).toHaveLength(1);
  expect(await text(other.get(digest, signal))).toBe("kept");
});

test("a store of another version is refused with a hint", async () => {
  await writeFile(join(root, "version"), "7\n");
  const error = await errorOf(openStore(root, signal));
  expect(error.code).toBe("STORE_FAILED");
  expect(error.message).toContain('"7"');
  expect(error.hint).toContain("--store");
});

test("a file in the place of the store is an error that names it", async () => {
  const path = join(root, "file");
  await writeFile(path, "");
  const error = await errorOf(openStore(path, signal));
  expect(error.code).toBe("STORE_FAILED");
  expect(error.message).toContain(path);
});

test("many builds of one process may put the same blob at once", async () => {
  const stores = await Promise.all(Array.from({ length: 8 }, () => openStore(root, signal)));
  const content = Buffer.alloc(1_000_000, 7);
  await Promise.all(stores.map((store) => store.put(chunks(content), undefined, signal)));
  expect(await readdir(join(root, "blobs/sha256"))).toEqual([hexOf(digestOf(content))]);
  for (const store of stores) await store[Symbol.asyncDispose]();
  expect(await readdir(join(root, "staging"))).toEqual([]);
});

test("two processes may put the same blobs at once, and both end well", async () => {
  const script = `
    import { openStore } from "./src/store/index.ts";
    const signal = new AbortController().signal;
    await using store = await openStore(process.argv[2], signal);
    async function* bytes(n) { for (let i = 0; i < 40; i++) yield Buffer.alloc(50_000, n); }
    for (let n = 0; n < 10; n++) await store.put(bytes(n), undefined, signal);
  `;
  const children = [startScript(script, root), startScript(script, root)];
  expect(await Promise.all(children.map(async (child) => (await once(child, "exit"))[0]))).toEqual([
    0, 0,
  ]);
  await using store = await openStore(root, signal);
  const names = await readdir(join(root, "blobs/sha256"));
  expect(names).toHaveLength(10);
  for (const name of names) await text(store.get(digestFromHex(name), signal));
  expect(await readdir(join(root, "staging"))).toHaveLength(1);
});

test("kill -9 amid a put leaves no blob, and a staging directory that the next build finds", async () => {
  const child = startScript(
    `
    import { openStore } from "./src/store/index.ts";
    const signal = new AbortController().signal;
    const store = await openStore(process.argv[2], signal);
    async function* bytes() {
      for (let n = 0; ; n++) {
        yield Buffer.alloc(300_000, n);
        if (n === 3) console.log(store.staging);
        await new Promise((done) => setTimeout(done, 5));
      }
    }
    await store.put(bytes(), undefined, signal);
  `,
    root,
  );
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const staging = line.toString().trim();
  await using store = await openStore(root, signal);
  expect(await store.abandoned()).toEqual([]);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(await readdir(join(root, "blobs/sha256"))).toEqual([]);
  expect(await readdir(staging)).toHaveLength(1);
  expect(await store.abandoned()).toEqual([staging]);
});

test("a killed build that nobody has waited for counts as dead", async () => {
  // The shell is its parent and never waits: the build stays a zombie.
  const shell = spawn("sh", ["-c", "sleep 300 & echo $!; exec sleep 300"]);
  try {
    const [line] = (await once(shell.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ");
    const startTicks = fields?.[19] ?? "";
    await using store = await openStore(root, signal);
    const name = `${formatProcess({ ...currentProcess(), pid, startTicks })}-0123456789ab`;
    await mkdir(join(root, "staging", name));
    expect(await store.abandoned()).toEqual([]);
    process.kill(pid, "SIGKILL");
    while (!(await readFile(`/proc/${pid}/stat`, "utf8")).includes(") Z ")) await sleep(5);
    expect(await store.abandoned()).toEqual([join(root, "staging", name)]);
  } finally {
    shell.kill("SIGKILL");
  }
});

test("a pid that another process has by now does not keep a staging directory", async () => {
  await using store = await openStore(root, signal);
  const reused = `${formatProcess({ ...currentProcess(), startTicks: "1" })}-0123456789ab`;
  await mkdir(join(root, "staging", reused));
  expect(await store.abandoned()).toEqual([join(root, "staging", reused)]);
});

test("a staging directory of another pid namespace or machine counts after a day only", async () => {
  await using store = await openStore(root, signal);
  const self = currentProcess();
  const foreign = [
    formatProcess({ ...self, pidNamespace: "1" }),
    formatProcess({ ...self, bootId: "abc" }),
    formatProcess({ ...self, startTicks: "0" }),
  ].map((name) => join(root, "staging", `${name}-0123456789ab`));
  foreign.push(join(root, "staging", "what-is-this"));
  for (const path of foreign) await mkdir(path);
  expect(await store.abandoned()).toEqual([]);
  const old = new Date(Date.now() - 25 * 60 * 60 * 1000);
  for (const path of foreign) await utimes(path, old, old);
  expect(await store.abandoned()).toEqual(foreign.toSorted());
});
