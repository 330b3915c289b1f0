import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Change,
  indexLayer,
  mergedTree,
  openIndex,
  unpackLayer,
} from "../../src/layer/index.js";
import type { FileReader, Tree } from "../../src/oci/tree.js";
import {
  chunked,
  diffIdOf,
  directory,
  file,
  never,
  opaque,
  pack,
  rawTar,
  remove,
  symlink,
  temporaryDirectory,
  write,
} from "../support/layer-changes.js";
import { MemoryRoot, treeSnapshot } from "../support/memory-root.js";

const at = temporaryDirectory();

/** The tree of layers given as changes, lowest first, whose files can be read. */
async function merge(...layers: readonly (readonly Change[])[]): Promise<Tree> {
  const packed = await Promise.all(layers.map((changes) => pack(at, changes)));
  return mergedTree(
    packed.map(({ index }) => index),
    (layer, offset, size): FileReader =>
      file(packed[layer]?.blob.subarray(offset, offset + size) ?? "").open?.() ??
      expect.unreachable(),
  );
}

const BASE: readonly Change[] = [
  write("", directory({ mode: 0o711 })),
  write("d", directory({ uid: 1 })),
  write("d/a", file("a0")),
  write("d/b", file("b0")),
  write("d/sub", directory()),
  write("d/sub/deep", file("deep0")),
  write("f", file("f0")),
  write("link", symlink("d")),
];

test("one layer is what it holds, in the order of names' bytes", async () => {
  const tree = await merge([
    write("b", file("x")),
    write("é", file("x")),
    write("a", directory()),
    write("a-b", file("x")),
    write("a/z", file("x")),
  ]);
  expect(tree.list("")).toEqual(["a", "a-b", "b", "é"]);
  expect(tree.list("a")).toEqual(["z"]);
  expect(tree.list("b")).toEqual([]);
  expect(tree.list("nothing")).toEqual([]);
  expect(tree.lstat("a/z/q")).toBeUndefined();
});

test("no layer at all is an empty root", () => {
  expect(mergedTree([]).lstat("")).toMatchObject({ type: "directory", mode: 0o755, uid: 0 });
  expect(mergedTree([]).list("")).toEqual([]);
});

test("directories of several layers are one, and the highest entry counts", async () => {
  const tree = await merge(BASE, [
    write("d", directory({ uid: 2 })),
    write("d/b", file("b1")),
    write("d/c", file("c1")),
  ]);
  expect(tree.list("d")).toEqual(["a", "b", "c", "sub"]);
  expect(tree.lstat("d")?.uid).toBe(2);
  expect(Buffer.from(tree.read("d/b") ?? []).toString()).toBe("b1");
  expect(Buffer.from(tree.read("d/a") ?? []).toString()).toBe("a0");
});

test("a directory that a layer only implies keeps owner and mode of the one below", async () => {
  const tree = await merge(BASE, [write("d/new", file("n"))]);
  expect(tree.lstat("d")).toMatchObject({ uid: 1 });
  expect(tree.lstat("")).toMatchObject({ mode: 0o711 });
});

test("a directory that nothing describes is root's with mode 755", async () => {
  const tree = await merge([write("x/y/z", file(""))]);
  expect(tree.lstat("x/y")).toMatchObject({ type: "directory", mode: 0o755, uid: 0, gid: 0 });
});

test("a whiteout hides a file, or a whole directory", async () => {
  const tree = await merge(BASE, [remove("d/sub"), remove("f")]);
  expect(tree.list("")).toEqual(["d", "link"]);
  expect(tree.list("d")).toEqual(["a", "b"]);
  expect(tree.lstat("d/sub/deep")).toBeUndefined();
  expect(tree.list("d/sub")).toEqual([]);
});

test("what comes after a whiteout, in a higher layer, shows none of what was hidden", async () => {
  const tree = await merge(
    BASE,
    [remove("d")],
    [write("d", directory({ uid: 5 })), write("d/new", file("n"))],
  );
  expect(tree.list("d")).toEqual(["new"]);
  expect(tree.lstat("d")?.uid).toBe(5);
});

test("a whiteout and an entry of one layer replace, whatever their order", async () => {
  const entries = [write("d", directory({ uid: 6 })), write("d/new", file("n"))];
  for (const changes of [
    [remove("d"), ...entries],
    [...entries, remove("d")],
    [remove("d"), write("d/new", file("n"))],
  ]) {
    const tree = await merge(BASE, changes);
    expect(tree.list("d")).toEqual(["new"]);
    expect(tree.lstat("d")?.uid).toBe(changes.length === 3 ? 6 : 0);
  }
});

test("an opaque directory hides what is below it and keeps its owner", async () => {
  const tree = await merge(
    BASE,
    [opaque("d"), write("d/own", file("o"))],
    [write("d/top", file("t"))],
  );
  expect(tree.list("d")).toEqual(["own", "top"]);
  expect(tree.lstat("d")).toMatchObject({ uid: 1 });
  expect(tree.lstat("d/a")).toBeUndefined();
});

test("a file in the place of a directory hides all that was in it, and the reverse", async () => {
  const tree = await merge(BASE, [
    write("d", file("file")),
    write("f", directory()),
    write("f/x", file("x")),
  ]);
  expect(tree.lstat("d")?.type).toBe("file");
  expect(tree.list("d")).toEqual([]);
  expect(tree.lstat("d/a")).toBeUndefined();
  expect(tree.list("f")).toEqual(["x"]);
  const again = await merge(
    BASE,
    [write("d", file("file"))],
    [write("d", directory()), write("d/z", file("z"))],
  );
  expect(again.list("d")).toEqual(["z"]);
});

test("symlinks are entries, never followed", async () => {
  const tree = await merge(BASE);
  expect(tree.lstat("link")).toMatchObject({ type: "symlink", linkTarget: "d" });
  expect(tree.lstat("link/a")).toBeUndefined();
  expect(tree.list("link")).toEqual([]);
  expect(tree.read("link")).toBeUndefined();
});

test("names of one file share a group of their own layer", async () => {
  const pair = (name: string): Change[] => [
    write(`${name}1`, file("same", { linkGroup: "g" })),
    write(`${name}2`, file("same", { linkGroup: "g" })),
  ];
  const tree = await merge(pair("low"), pair("high"));
  expect(tree.lstat("low1")?.linkGroup).toBe(tree.lstat("low2")?.linkGroup);
  expect(tree.lstat("low1")?.linkGroup).not.toBe(tree.lstat("high1")?.linkGroup);
  expect(tree.lstat("high2")).toMatchObject({ type: "file", size: 4 });
  expect(treeSnapshot(tree)["high2"]).toBe("file 644 0:0 same");
});

test("a hard link to a file of a lower layer is that file", async () => {
  const { index } = await pack(at, BASE);
  const tar = rawTar([{ path: "d/l", type: "hardlink", linkTarget: "d/a" }]);
  const name = `${at}/link.index`;
  await indexLayer(chunked(tar), {
    compression: "none",
    diffId: diffIdOf(tar),
    signal: never,
    index: name,
  });
  const above = openIndex(readFileSync(name));
  const tree = mergedTree([index, above]);
  expect(tree.lstat("d/l")).toMatchObject({ type: "file", size: 2 });
  const cut = mergedTree([(await pack(at, [remove("d")])).index, above]);
  expect(cut.lstat("d/l")).toBeUndefined();
});

test("passwd and group are in the index, other contents are read where they are", async () => {
  const { index } = await pack(at, [
    write("etc/passwd", file("root:x:0:0")),
    write("etc/group", file("")),
    write("etc/hosts", file("h")),
  ]);
  const tree = mergedTree([index]);
  expect(Buffer.from(tree.read("etc/passwd") ?? []).toString()).toBe("root:x:0:0");
  expect(tree.read("etc/group")).toEqual(Buffer.alloc(0));
  expect(tree.read("etc/none")).toBeUndefined();
  expect(tree.lstat("etc/passwd")).not.toHaveProperty("open");
  expect(() => tree.read("etc/hosts")).toThrow(/only the index of its layer is known/);
});

test("xattrs, devices, times and owners are as they were, to the bit", async () => {
  const xattrs = new Map([
    ["security.capability", Buffer.from("0100000280ff", "hex")],
    ["user.empty", Buffer.alloc(0)],
  ]);
  const tree = await merge([
    write(
      "cap",
      file("x", {
        xattrs,
        uid: 0xffff_fffe,
        gid: 0x8000_0000,
        mode: 0o6755,
        mtimeNs: -1_234_567_891n,
      }),
    ),
    write("late", file("", { mtimeNs: 99_999_999_999_999_999_999n })),
    write("tty", { ...file(""), type: "char", devMajor: 5, devMinor: 0xf_ffff }),
    write("\udcff\udc80", file("odd")),
  ]);
  expect(tree.lstat("cap")).toMatchObject({
    uid: 0xffff_fffe,
    gid: 0x8000_0000,
    mode: 0o6755,
    mtimeNs: -1_234_567_891n,
  });
  expect(tree.lstat("cap")?.xattrs).toEqual(xattrs);
  expect(tree.lstat("late")?.mtimeNs).toBe(99_999_999_999_999_999_999n);
  expect(tree.lstat("tty")).toMatchObject({ devMajor: 5, devMinor: 0xf_ffff });
  expect(tree.list("")).toContain("\udcff\udc80");
  expect(tree.lstat("\udcff\udc80")?.size).toBe(3);
});

test("a damaged index is an error that says what to do", async () => {
  const { indexBytes } = await pack(at, BASE);
  for (const [change, message] of [
    [(bytes: Buffer) => bytes.subarray(0, 50), /none, or one of another version/],
    [(bytes: Buffer) => bytes.subarray(0, bytes.length - 1), /length is wrong/],
    [(bytes: Buffer) => bytes.fill(7, 200, 201), /checksum is wrong/],
    [(bytes: Buffer) => bytes.fill(7, 0, 1), /another version/],
  ] as const) {
    expect(() => openIndex(change(Buffer.from(indexBytes)))).toThrow(message);
  }
  expect(() => openIndex(indexBytes.subarray(0, 10))).toThrow(
    expect.objectContaining({
      code: "STORE_FAILED",
      hint: expect.stringContaining("delete it") as string,
    }),
  );
});

test("an index knows its layer", async () => {
  const { index, layer } = await pack(at, BASE);
  expect(index).toMatchObject({
    diffId: layer.diffId,
    uncompressedSize: layer.uncompressedSize,
    entries: BASE.length,
  });
});

test("100,000 entries are indexed in 10 MB and answer 50,000 questions a second", async () => {
  const changes: Change[] = [];
  for (let d = 0; d < 1000; d++) {
    const path = `usr/lib/package-${d}/node_modules`;
    changes.push(write(path, directory()));
    for (let f = 0; f < 99; f++) changes.push(write(`${path}/file-${f}.js`, file("")));
  }
  const { index, indexBytes } = await pack(at, changes);
  expect(indexBytes.length).toBeLessThan(10_000_000);
  const tree = mergedTree([
    index,
    (await pack(at, [write("usr/lib/package-5/x", file(""))])).index,
  ]);
  const paths = tree
    .list("usr/lib")
    .flatMap((name) =>
      tree
        .list(`usr/lib/${name}/node_modules`)
        .map((each) => `usr/lib/${name}/node_modules/${each}`),
    );
  expect(paths.length).toBe(99_000);
  const before = process.cpuUsage();
  const missing = paths.filter((path) => tree.lstat(path) === undefined);
  const seconds = process.cpuUsage(before).user / 1e6;
  expect(missing).toEqual([]);
  // A tenth of the promise, of the processor: the machine of a test may be under load.
  expect(paths.length / seconds).toBeGreaterThan(5000);
});

const NAMES = ["a", "b", "c"] as const;
const path = fc
  .array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/"));
const entry = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      path,
      type: fc.constantFrom("file" as const, "directory" as const, "file" as const),
      uid: fc.nat(3),
      content: fc.constantFrom("x", "yy"),
    }),
  },
  {
    weight: 1,
    arbitrary: path.map((each) => ({
      path: each.replace(/[^/]+$/, ".wh.$&"),
      type: "file" as const,
      uid: 0,
      content: "",
    })),
  },
  {
    weight: 1,
    arbitrary: path.map((each) => ({
      path: `${each}/.wh..wh..opq`,
      type: "file" as const,
      uid: 0,
      content: "",
    })),
  },
);

test("the merged tree is what unpacking the layers one onto the other gives", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(entry, { maxLength: 8 }), { minLength: 1, maxLength: 4 }),
      async (layers) => {
        const root = new MemoryRoot();
        const tars: Buffer[] = [];
        const indexes: ReturnType<typeof openIndex>[] = [];
        for (const entries of layers) {
          const tar = rawTar(
            entries.map((each) =>
              each.type === "directory" ? { ...each, mode: 0o755, content: "" } : each,
            ),
          );
          const options = { compression: "none", diffId: diffIdOf(tar), signal: never } as const;
          const name = `${at}/${Math.random()}`;
          try {
            await indexLayer(chunked(tar), { ...options, index: name });
          } catch (error) {
            // A file and a path through it in one layer: both ways refuse it.
            expect(String(error)).toContain("is no directory");
            await expect(
              unpackLayer(chunked(tar), new MemoryRoot(), {
                ...options,
                index: `${name}2`,
                whiteouts: "apply",
              }),
            ).rejects.toThrow("is no directory");
            return;
          }
          await unpackLayer(chunked(tar), root, {
            ...options,
            index: `${name}2`,
            whiteouts: "apply",
          });
          tars.push(tar);
          indexes.push(openIndex(readFileSync(name)));
        }
        const tree = mergedTree(
          indexes,
          (layer, offset, size) =>
            file(tars[layer]?.subarray(offset, offset + size) ?? "").open?.() ??
            expect.unreachable(),
        );
        expect(treeSnapshot(tree)).toEqual(root.snapshot());
      },
    ),
    { numRuns: 200 },
  );
});
