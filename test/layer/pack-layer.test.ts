import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";
import { type Change, mergedTree, packLayer } from "../../src/layer/index.js";
import type { Compression } from "../../src/oci/types.js";
import {
  directory,
  file,
  never,
  opaque,
  pack,
  readTar,
  remove,
  symlink,
  temporaryDirectory,
  write,
} from "../support/layer-changes.js";

const at = temporaryDirectory();
const ALL: readonly Compression[] = ["gzip", "zstd", "none"];

/** A mixture: text that deflates well, noise that does not, more than one block of each. */
const MIXTURE: readonly Change[] = mixture();

function mixture(): Change[] {
  const text = Buffer.from(
    Array.from({ length: 200_000 }, (_, i) => `line ${i * 7919} of text\n`).join(""),
  );
  const noise = createHash("sha512");
  const random = Buffer.concat(
    Array.from({ length: 20_000 }, (_, i) => noise.copy().update(String(i)).digest()),
  );
  return [
    write("", directory({ mode: 0o755 })),
    write("a", directory()),
    write("a/text", file(text)),
    write("a/noise", file(random)),
    ...Array.from({ length: 2000 }, (_, i) => write(`a/small${i}`, file(`small ${i}`, { uid: i }))),
  ];
}

describe.each(ALL)("with compression %s", (compression) => {
  test("digest, size and diffId are those of the files", async () => {
    const { layer, blob } = await pack(at, MIXTURE, { compression });
    const plain = await pack(at, MIXTURE);
    expect(layer.descriptor.digest).toBe(
      `sha256:${createHash("sha256").update(blob).digest("hex")}`,
    );
    expect(layer.descriptor.size).toBe(blob.length);
    expect(layer.diffId).toBe(`sha256:${createHash("sha256").update(plain.blob).digest("hex")}`);
    expect(layer.uncompressedSize).toBe(plain.blob.length);
    expect(layer.descriptor.mediaType).toBe(
      `application/vnd.oci.image.layer.v1.tar${compression === "none" ? "" : `+${compression}`}`,
    );
  });

  test("the same changes give the same bytes", async () => {
    const first = await pack(at, MIXTURE, { compression });
    const second = await pack(at, MIXTURE, { compression });
    expect(second.blob.equals(first.blob)).toBe(true);
    expect(second.indexBytes.equals(first.indexBytes)).toBe(true);
  });
});

test("gzip, tar and zlib read the layer; it is one member without a time", async () => {
  const { blob } = await pack(at, MIXTURE, { compression: "gzip" });
  const plain = await pack(at, MIXTURE);
  const path = join(at, "layer.tar.gz");
  writeFileSync(path, blob);
  execFileSync("gzip", ["-t", path]);
  const names = execFileSync("tar", ["-tzf", path], { maxBuffer: 1 << 24 })
    .toString()
    .trim()
    .split("\n");
  expect(names.length).toBe(2004);
  expect(gunzipSync(blob).equals(plain.blob)).toBe(true);
  expect(blob.subarray(0, 10)).toEqual(Buffer.from("1f8b08000000000000ff", "hex"));
  // A second member would begin with the magic number and decode on its own.
  expect(execFileSync("gzip", ["-lv", path]).toString()).toContain(String(plain.blob.length));
});

test("zstd reads the layer as one frame", async () => {
  const { blob } = await pack(at, MIXTURE, { compression: "zstd" });
  const path = join(at, "layer.tar.zst");
  writeFileSync(path, blob);
  const plain = await pack(at, MIXTURE);
  expect(execFileSync("zstd", ["-dc", path], { maxBuffer: 1 << 26 }).equals(plain.blob)).toBe(true);
  expect(execFileSync("zstd", ["-lv", path]).toString()).toMatch(/# Zstandard Frames: 1\n/);
});

test("the bytes of a gzip layer do not depend on how many threads there are", async () => {
  const bundle = join(at, "pack.mjs");
  await build({
    entryPoints: ["test/support/pack-text.ts"],
    outfile: bundle,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: ["@cloudpss/zstd"],
  });
  const digests = ["1", "2", "7"].map((threads) => {
    const env = { ...process.env, UV_THREADPOOL_SIZE: threads };
    return execFileSync(process.execPath, [bundle, join(at, `threads-${threads}`)], {
      env,
    }).toString();
  });
  expect(digests[0]).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(new Set(digests).size).toBe(1);
});

test("what does not deflate is stored, and costs hardly more than its size", async () => {
  const noise = randomBytes(3_000_000);
  const { blob, layer } = await pack(at, [write("noise", file(noise))], { compression: "gzip" });
  expect(blob.length).toBeLessThan(layer.uncompressedSize + 2000);
  expect(
    gunzipSync(blob)
      .subarray(512, 512 + noise.length)
      .equals(noise),
  ).toBe(true);
});

test("deflated and stored blocks join at every border", async () => {
  const noise = randomBytes(700_000);
  const text = Buffer.alloc(900_000, "some text that repeats itself; ");
  const content = Buffer.concat([noise, text, noise, text]);
  const { blob } = await pack(at, [write("f", file(content))], { compression: "gzip" });
  expect(
    gunzipSync(blob)
      .subarray(512, 512 + content.length)
      .equals(content),
  ).toBe(true);
  // The second copy of the text refers to the block before it.
  expect(blob.length).toBeLessThan(2 * noise.length + 40_000);
});

test("a level of 0 stores everything, 9 is smaller than 1", async () => {
  const sizes = new Map<number, number>();
  for (const level of [0, 1, 9]) {
    sizes.set(level, (await pack(at, MIXTURE, { compression: "gzip", level })).blob.length);
  }
  expect(sizes.get(0)).toBeGreaterThan(5_000_000);
  expect(sizes.get(9)).toBeLessThan(sizes.get(1) ?? 0);
});

test("deletions become whiteouts in the order of the changes", async () => {
  const { blob } = await pack(at, [
    write("d", directory({ mode: 0o700, uid: 3 })),
    opaque("d"),
    remove("d/gone"),
    remove("top"),
    write("l", symlink("d")),
    write("dev", { ...file(""), type: "char", devMajor: 5, devMinor: 1 }),
  ]);
  expect(readTar(blob).map((entry) => [entry.path, entry.type])).toEqual([
    ["d/", "directory"],
    ["d/.wh..wh..opq", "file"],
    ["d/.wh.gone", "file"],
    [".wh.top", "file"],
    ["l", "symlink"],
    ["dev", "char"],
  ]);
});

test("the second name of a file is a hard link to the first", async () => {
  const more = { linkGroup: "7:42", xattrs: new Map([["user.x", Buffer.from("v")]]) };
  const { blob, index } = await pack(at, [
    write("a", file("content", more)),
    write("b", file("content", { ...more, open: () => expect.unreachable("read twice") })),
    write("c", file("content", { ...more, linkGroup: "other" })),
  ]);
  expect(
    readTar(blob).map(({ path, type, linkTarget, content }) => [
      path,
      type,
      linkTarget,
      content.toString(),
    ]),
  ).toEqual([
    ["a", "file", "", "content"],
    ["b", "hardlink", "a", ""],
    ["c", "file", "", "content"],
  ]);
  const tree = mergedTree([index]);
  expect(tree.lstat("b")).toMatchObject({ type: "file", size: 7, linkGroup: "0:1" });
  expect(tree.lstat("a")?.linkGroup).toBe("0:1");
  expect(tree.lstat("c")?.linkGroup).toBeUndefined();
});

test("sockets are left out", async () => {
  const { blob } = await pack(at, [
    write("s", { ...file(""), type: "socket" }),
    write("f", file("x")),
  ]);
  expect(readTar(blob).map((entry) => entry.path)).toEqual(["f"]);
});

test("the root goes in as ./", async () => {
  const { blob, index } = await pack(at, [write("", directory({ mode: 0o711, uid: 9 }))]);
  expect(readTar(blob).map((entry) => [entry.path, entry.mode])).toEqual([["./", 0o711]]);
  expect(mergedTree([index]).lstat("")).toMatchObject({ mode: 0o711, uid: 9 });
});

test("times later than the clamp become it; others keep their fractions, before 1970 too", async () => {
  const changes = [
    write("late", file("", { mtimeNs: 2_000_000_000_500_000_000n })),
    write("early", file("", { mtimeNs: 999_999_999n })),
    write("negative", file("", { mtimeNs: -1n })),
  ];
  const clamped = readTar(
    (await pack(at, changes, { clampMtimeNs: 1_000_000_000_000_000_000n })).blob,
  );
  expect(clamped.map((entry) => entry.mtimeNs)).toEqual([
    1_000_000_000_000_000_000n,
    999_999_999n,
    -1n,
  ]);
});

test("a file whose name would mean a deletion is an error", async () => {
  await expect(pack(at, [write("a/.wh.b", file("x"))])).rejects.toThrow(
    /names that begin with "\.wh\." mean deletions/,
  );
});

test.each([
  ["grew", 3, 0],
  ["shrank", 7, 0],
  // The block's border falls on the end of the file: the surplus shows in a read of its own.
  ["grew", 512 * 1024 - 512, 1],
])("a file that %s while it was read is an error that names it", async (verb, size, extra) => {
  const entry = file("x".repeat(extra === 0 ? 5 : size + extra), { size });
  await expect(pack(at, [write("etc/changing", entry)])).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: `tried to pack "etc/changing" into a layer: it ${verb} while it was read`,
  });
});

test("an error of a file, or of the changes, closes everything that was opened", async () => {
  const before = readdirSync("/proc/self/fd").length;
  let disposed = 0;
  const broken = file("", {
    size: 10,
    open: () => ({
      read: () => {
        throw new Error("EIO: broken disk");
      },
      [Symbol.dispose]: () => void (disposed += 1),
    }),
  });
  for (const compression of ALL) {
    await expect(pack(at, [write("f", broken)], { compression })).rejects.toThrow(
      'tried to pack "f" into a layer: EIO',
    );
  }
  expect(disposed).toBe(3);
  function* failing(): Generator<Change> {
    yield* MIXTURE;
    throw new Error("no more changes");
  }
  for (const compression of ALL)
    await expect(pack(at, failing(), { compression })).rejects.toThrow("no more changes");
  expect(readdirSync("/proc/self/fd").length).toBe(before);
});

test("cancelling ends it between two blocks", async () => {
  const controller = new AbortController();
  function* endless(): Generator<Change> {
    for (let i = 0; ; i++) {
      if (i === 100) controller.abort();
      yield write(`f${i}`, file("x".repeat(100_000)));
    }
  }
  await expect(pack(at, endless(), { signal: controller.signal })).rejects.toMatchObject({
    code: "ABORTED",
  });
});

test("both files exist before the first change is asked for, and only their descriptors are used then", async () => {
  const directoryOf = join(at, "moved-away");
  execFileSync("mkdir", [directoryOf]);
  function* moving(): Generator<Change> {
    expect(readdirSync(directoryOf).sort()).toEqual(["b", "i"]);
    execFileSync("mv", [directoryOf, `${directoryOf}-2`]);
    yield* MIXTURE;
  }
  await packLayer(moving(), {
    compression: "gzip",
    format: "docker",
    blobPath: join(directoryOf, "b"),
    indexPath: join(directoryOf, "i"),
    signal: never,
  });
  expect(gunzipSync(readFileSync(`${directoryOf}-2/b`)).length).toBeGreaterThan(1_000_000);
});

test("a file that exists already is not written over", async () => {
  const blobPath = join(at, "taken");
  writeFileSync(blobPath, "precious");
  const options = {
    compression: "none",
    format: "oci",
    blobPath,
    indexPath: `${blobPath}.i`,
    signal: never,
  } as const;
  await expect(packLayer([], options)).rejects.toThrow(/tried to create .*taken.*EEXIST/);
  expect(readFileSync(blobPath, "utf8")).toBe("precious");
});

test("a full disk is an error that says so", async () => {
  const blobPath = "/dev/full";
  const options = {
    compression: "none",
    format: "oci",
    blobPath,
    indexPath: join(at, "full.i"),
    signal: never,
  } as const;
  await expect(packLayer(MIXTURE, options)).rejects.toMatchObject({ code: "STORE_FAILED" });
});
