import { execFileSync } from "node:child_process";
import { openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  type TarHeader,
  type UnpackResult,
  indexLayer,
  mergedTree,
  openIndex,
  unpackLayer,
} from "../../src/layer/index.js";
import type { DiffId } from "../../src/oci/digest.js";
import {
  chunked,
  diffIdOf,
  directory,
  file,
  gzipped,
  never,
  opaque,
  pack,
  rawTar,
  remove,
  symlink,
  temporaryDirectory,
  write,
} from "../support/layer-changes.js";
import { MemoryRoot } from "../support/memory-root.js";

const at = temporaryDirectory();
let names = 0;
const fresh = (): string => join(at, `${(names += 1)}.index`);
type Raw = Partial<TarHeader> & { path: string; content?: string };

async function apply(
  entries: readonly Raw[] | Buffer,
  root: MemoryRoot = new MemoryRoot(),
  whiteouts: "apply" | "overlay" = "apply",
): Promise<{ root: MemoryRoot; result: UnpackResult; index: ReturnType<typeof openIndex> }> {
  const tar = Buffer.isBuffer(entries) ? entries : rawTar(entries);
  const index = fresh();
  const options = { compression: "none", diffId: diffIdOf(tar), index, signal: never } as const;
  const result = await unpackLayer(chunked(tar, 1000), root, { ...options, whiteouts });
  // The index of the same layer made without a root is the same.
  const alone = fresh();
  const indexed = await indexLayer(chunked(tar), { ...options, index: alone });
  expect(readFileSync(alone).equals(readFileSync(index))).toBe(true);
  expect(indexed).toEqual(result);
  return { root, result, index: openIndex(readFileSync(index)) };
}

const dir = (path: string, more: Partial<TarHeader> = {}): Raw => ({
  path,
  type: "directory",
  mode: 0o755,
  ...more,
});

/** A lower layer in a root. */
async function lower(): Promise<MemoryRoot> {
  const { root } = await apply([
    dir("d"),
    { path: "d/a", content: "lower a" },
    { path: "d/b", content: "lower b" },
    dir("d/sub"),
    { path: "d/sub/deep", content: "lower deep" },
    { path: "f", content: "lower f" },
  ]);
  return root;
}

test("what was packed is unpacked: owners, modes, links, devices, contents", async () => {
  const xattrs = new Map([["security.capability", Buffer.from([1, 0, 0, 2, 0xff])]]);
  const changes = [
    write("", directory({ mode: 0o700 })),
    write("bin", directory({ mode: 0o2755, gid: 7 })),
    write("bin/tool", file("tool", { mode: 0o4755, xattrs, linkGroup: "1" })),
    write("bin/tool2", file("tool", { mode: 0o4755, xattrs, linkGroup: "1" })),
    write("dev", { ...file(""), type: "char", devMajor: 1, devMinor: 3 }),
    write("link", symlink("/bin/tool")),
    write("pipe", { ...file(""), type: "fifo" }),
  ];
  for (const compression of ["gzip", "zstd", "none"] as const) {
    const { layer, blob, indexBytes } = await pack(at, changes, { compression });
    const path = join(at, `blob-${compression}`);
    writeFileSync(path, blob);
    const root = new MemoryRoot();
    const index = fresh();
    const fd = openSync(path, "r");
    const options = {
      compression,
      diffId: layer.diffId,
      index,
      signal: never,
      whiteouts: "overlay",
    } as const;
    const result = await unpackLayer(fd, root, options);
    expect(result).toEqual({
      diffId: layer.diffId,
      uncompressedSize: layer.uncompressedSize,
      entries: 7,
      impliedDirectories: [],
      opaqueRoot: false,
    });
    expect(root.snapshot()).toMatchInlineSnapshot(`
      {
        "": "directory 700 0:0",
        "bin": "directory 2755 0:7",
        "bin/tool": "file 4755 0:0 tool",
        "bin/tool2": "file 4755 0:0 tool",
        "dev": "char 644 0:0 ",
        "link": "symlink -> /bin/tool",
        "pipe": "fifo 644 0:0 ",
      }
    `);
    expect(root.files.get("bin/tool")?.entry.xattrs).toEqual(xattrs);
    expect(root.files.get("bin/tool2")?.content).toBe(root.files.get("bin/tool")?.content);
    expect(root.files.get("dev")?.entry).toMatchObject({ devMajor: 1, devMinor: 3 });
    expect(root.finished).toBe(true);
    // Packing and unpacking tell the same story.
    expect(readFileSync(index).equals(indexBytes)).toBe(true);
  }
});

describe("whiteouts that are applied", () => {
  test("remove files and whole directories of lower layers", async () => {
    const { root } = await apply([{ path: ".wh.f" }, { path: "d/.wh.sub" }], await lower());
    expect(Object.keys(root.snapshot())).toEqual(["", "d", "d/a", "d/b"]);
  });

  test.each([
    ["before", [{ path: ".wh.d" }, dir("d", { uid: 5 }), { path: "d/new", content: "new" }]],
    ["after", [dir("d", { uid: 5 }), { path: "d/new", content: "new" }, { path: ".wh.d" }]],
  ])("%s an entry of the same name take only what lower layers had", async (_, entries) => {
    const { root } = await apply(entries, await lower());
    expect(root.snapshot()).toMatchObject({ d: "directory 755 5:0", "d/new": "file 644 0:0 new" });
    expect(Object.keys(root.snapshot())).toEqual(["", "d", "d/new", "f"]);
  });

  test.each([
    ["before", [{ path: ".wh.f" }, { path: "f", content: "new" }]],
    ["after", [{ path: "f", content: "new" }, { path: ".wh.f" }]],
  ])("%s a file of the same name leave it", async (_, entries) => {
    const { root } = await apply(entries, await lower());
    expect(root.snapshot()["f"]).toBe("file 644 0:0 new");
  });

  test("an opaque mark takes lower contents, at any place in the layer", async () => {
    const own = [
      { path: "d/new", content: "new" },
      dir("d/sub"),
      { path: "d/sub/own", content: "own" },
    ];
    for (const entries of [
      [{ path: "d/.wh..wh..opq" }, ...own],
      [...own, { path: "d/.wh..wh..opq" }],
    ]) {
      const { root } = await apply(entries, await lower());
      expect(Object.keys(root.snapshot())).toEqual(["", "d", "d/new", "d/sub", "d/sub/own", "f"]);
    }
  });

  test("an opaque root empties it", async () => {
    const { root, result } = await apply(
      [{ path: ".wh..wh..opq" }, { path: "only" }],
      await lower(),
    );
    expect(Object.keys(root.snapshot())).toEqual(["", "only"]);
    expect(result.opaqueRoot).toBe(true);
  });

  test("book-keeping of aufs is passed over", async () => {
    const { root } = await apply([
      dir(".wh..wh.plnk"),
      { path: ".wh..wh.plnk/1.2", content: "x" },
      { path: ".wh..wh.aufs" },
    ]);
    expect(Object.keys(root.snapshot())).toEqual([""]);
  });
});

describe("whiteouts for an overlay mount", () => {
  test("become marks, and parents that the layer does not have are made and told", async () => {
    const { root, result } = await apply(
      [{ path: "a/b/.wh.gone" }, { path: "c/.wh..wh..opq" }],
      new MemoryRoot(),
      "overlay",
    );
    expect([...root.whiteouts]).toEqual(["a/b/gone"]);
    expect([...root.opaques]).toEqual(["c"]);
    expect(result.impliedDirectories).toEqual(["", "a", "a/b", "c"]);
  });

  test.each([
    ["before", [{ path: ".wh.d" }, dir("d"), { path: "d/new" }]],
    ["before, with the directory only implied", [{ path: ".wh.d" }, { path: "d/new" }]],
    ["after", [dir("d"), { path: "d/new" }, { path: ".wh.d" }]],
  ])("%s a directory of the same name make it opaque", async (_, entries) => {
    const { root } = await apply(entries, new MemoryRoot(), "overlay");
    expect([...root.whiteouts]).toEqual([]);
    expect([...root.opaques]).toEqual(["d"]);
    expect(root.typeOf("d/new")).toBe("file");
  });

  test("and a file of the same name need nothing", async () => {
    for (const entries of [
      [{ path: ".wh.f" }, { path: "f" }],
      [{ path: "f" }, { path: ".wh.f" }],
    ]) {
      const { root } = await apply(entries, new MemoryRoot(), "overlay");
      expect([...root.whiteouts, ...root.opaques]).toEqual([]);
      expect(root.typeOf("f")).toBe("file");
    }
  });

  test("a directory that gets its entry after its mark is still opaque", async () => {
    const { root } = await apply(
      [{ path: "d/.wh..wh..opq" }, dir("d", { uid: 3 })],
      new MemoryRoot(),
      "overlay",
    );
    expect([...root.opaques]).toEqual(["d"]);
    expect(root.snapshot()["d"]).toBe("directory 755 3:0");
  });
});

test("a directory that is implied first and described later is not implied", async () => {
  const { result } = await apply([{ path: "a/b/c" }, dir("a"), dir("")]);
  expect(result.impliedDirectories).toEqual(["a/b"]);
});

test("an implied directory leaves what a lower layer says of it", async () => {
  const { root } = await apply([dir("home", { mode: 0o700, uid: 7 })]);
  await apply([{ path: "home/x" }], root);
  expect(root.snapshot()["home"]).toBe("directory 700 7:0");
});

test("a later entry of the same name replaces the earlier one, a directory with all that is in it", async () => {
  const { root, index } = await apply([
    { path: "a/b/c", content: "gone" },
    { path: "a", content: "file" },
    { path: "f", content: "1" },
    dir("f"),
    { path: "f/g", content: "2" },
  ]);
  expect(root.snapshot()).toMatchObject({ a: "file 644 0:0 file", "f/g": "file 644 0:0 2" });
  expect(Object.keys(root.snapshot())).toEqual(["", "a", "f", "f/g"]);
  const tree = mergedTree([index]);
  expect(tree.list("")).toEqual(["a", "f"]);
  expect(tree.lstat("a/b")).toBeUndefined();
  expect(tree.list("f")).toEqual(["g"]);
});

test.each([
  ["./a//b/../c/", "a/c"],
  ["/abs", "abs"],
  ["x/./y", "x/y"],
  ["../x", "x"],
  ["a/../../../etc/x", "etc/x"],
])("the name %s means %s", async (path, expected) => {
  const { root } = await apply([{ path: path.replace(/\/$/, ""), content: "x" }]);
  expect(root.typeOf(expected)).toBe("file");
});

describe("hostile archives", () => {
  test.each([
    [
      "a hard link that climbs out",
      [{ path: "l", type: "hardlink" as const, linkTarget: "../../etc/shadow" }],
      /link target "etc\/shadow" is not there/,
    ],
    [
      "a hard link to nothing",
      [{ path: "l", type: "hardlink" as const, linkTarget: "etc/shadow" }],
      /link target "etc\/shadow" is not there/,
    ],
    [
      "a hard link to a directory",
      [dir("d"), { path: "l", type: "hardlink" as const, linkTarget: "d" }],
      /is a directory/,
    ],
    ["a file below a file", [{ path: "f" }, { path: "f/g" }], /"f" is no directory/],
    [
      "a symlink to itself as a parent",
      [{ path: "s", type: "symlink" as const, linkTarget: "s" }, { path: "s/x" }],
      /symbolic links/,
    ],
    ["a nameless whiteout", [{ path: "a/.wh." }], /names nothing/],
    ["a whiteout of the parent", [{ path: "a/.wh..." }], /names nothing/],
    [
      "a root that is no directory",
      [{ path: "./", type: "symlink" as const, linkTarget: "/" }],
      /root can only be a directory/,
    ],
    [
      "a path longer than Linux allows",
      [{ path: "d/".repeat(3000) + "f" }],
      /longer than 4095 bytes/,
    ],
    ["a name longer than Linux allows", [{ path: "n".repeat(256) }], /longer than 255 bytes/],
  ])("%s is an error", async (_, entries, message) => {
    const root = new MemoryRoot();
    const tar = rawTar(entries);
    const options = {
      compression: "none",
      diffId: diffIdOf(tar),
      signal: never,
      whiteouts: "overlay",
    } as const;
    const error: unknown = await unpackLayer(chunked(tar), root, {
      ...options,
      index: fresh(),
    }).catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: "STORE_FAILED",
      message: expect.stringMatching(message) as string,
    });
    expect(String(error)).toContain("tried to unpack");
  });

  test("a symlink of the layer leads later entries inside the root only", async () => {
    const { root } = await apply([
      { path: "escape", type: "symlink", linkTarget: "/../../../etc" },
      { path: "escape/cron.d/evil", content: "evil" },
      { path: "up", type: "symlink", linkTarget: "../../outside" },
      { path: "up/file", content: "x" },
    ]);
    expect(Object.keys(root.snapshot())).toEqual([
      "",
      "escape",
      "etc",
      "etc/cron.d",
      "etc/cron.d/evil",
      "outside",
      "outside/file",
      "up",
    ]);
    expect(root.typeOf("escape")).toBe("symlink");
  });

  test("a parent that is a symlink of a lower layer is replaced by a directory", async () => {
    const { root } = await apply([{ path: "etc", type: "symlink", linkTarget: "/real" }]);
    await apply([{ path: "etc/x", content: "x" }], root);
    expect(root.snapshot()).toMatchObject({ etc: "directory 755 0:0", "etc/x": "file 644 0:0 x" });
  });

  test("a very deep path is an error, not a stack overflow", async () => {
    const tar = rawTar([{ path: "a/".repeat(200_000) + "f" }]);
    const options = {
      compression: "none",
      diffId: diffIdOf(tar),
      signal: never,
      index: fresh(),
    } as const;
    await expect(indexLayer(chunked(tar), options)).rejects.toThrow(/longer than 4095 bytes/);
  });
});

test("a hard link to itself changes nothing", async () => {
  const { root } = await apply([
    { path: "f", content: "kept" },
    { path: "f", type: "hardlink", linkTarget: "./f" },
  ]);
  expect(root.snapshot()["f"]).toBe("file 644 0:0 kept");
});

test("a hard link may name a file of a lower layer where that layer is in the same root", async () => {
  const root = await lower();
  const tar = rawTar([{ path: "l", type: "hardlink", linkTarget: "d/a" }]);
  const index = fresh();
  const options = { compression: "none", diffId: diffIdOf(tar), signal: never, index } as const;
  await unpackLayer(chunked(tar), root, { ...options, whiteouts: "apply" });
  expect(root.snapshot()["l"]).toBe("file 644 0:0 lower a");
});

test("another content than the diffId says is an error at the end", async () => {
  const tar = rawTar([{ path: "f" }]);
  const diffId = `sha256:${"0".repeat(64)}` as DiffId;
  const options = {
    compression: "none",
    diffId,
    index: fresh(),
    signal: never,
    whiteouts: "apply",
  } as const;
  await expect(unpackLayer(chunked(tar), new MemoryRoot(), options)).rejects.toThrow(
    `tried to unpack the layer ${diffId}: its content is ${diffIdOf(tar)}`,
  );
});

test("a layer cut in the middle of a file is an error, and its file is closed", async () => {
  const tar = rawTar([{ path: "f", content: "x".repeat(5000) }]).subarray(0, 2048);
  const root = new MemoryRoot();
  const before = readdirSync("/proc/self/fd").length;
  const options = {
    compression: "gzip",
    diffId: diffIdOf(tar),
    index: fresh(),
    signal: never,
    whiteouts: "apply",
  } as const;
  await expect(unpackLayer(chunked(gzipped(tar)), root, options)).rejects.toThrow(
    /ends in the middle of an entry, at "f"/,
  );
  expect(root.openWriters).toBe(0);
  // Fewer: what another test has left to the collector may be closed meanwhile.
  expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
});

test("cancelling stops it", async () => {
  const controller = new AbortController();
  const tar = rawTar([{ path: "f", content: "x".repeat(1_000_000) }]);
  async function* slow(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunked(tar, 10_000)) {
      yield chunk;
      controller.abort(new Error("enough"));
    }
  }
  const root = new MemoryRoot();
  const options = {
    compression: "none",
    diffId: diffIdOf(tar),
    index: fresh(),
    signal: controller.signal,
  } as const;
  await expect(unpackLayer(slow(), root, { ...options, whiteouts: "apply" })).rejects.toMatchObject(
    { code: "ABORTED" },
  );
  expect(root.openWriters).toBe(0);
});

test("a file of the disk that is a sparse archive of GNU tar is unpacked and read through its index", async () => {
  const source = join(at, "sparse-file");
  execFileSync("truncate", ["-s", "3M", source]);
  execFileSync("sh", [
    "-c",
    `printf hello | dd of=${source} bs=1 seek=1000000 conv=notrunc status=none`,
  ]);
  const archive = `${source}.tar`;
  execFileSync("tar", ["-c", "-S", "-f", archive, "--format=posix", "-C", at, "sparse-file"]);
  const tar = readFileSync(archive);
  const { root, index } = await apply(tar);
  expect(root.files.get("sparse-file")?.content.bytes.equals(readFileSync(source))).toBe(true);
  const tree = mergedTree([index], (layer, offset, size) => {
    expect(layer).toBe(0);
    return file(tar.subarray(offset, offset + size)).open?.() ?? expect.unreachable();
  });
  const entry = tree.lstat("sparse-file");
  expect(entry?.size).toBe(3 * 2 ** 20);
  const bytes = Buffer.alloc(3 * 2 ** 20);
  using reader = entry?.open?.() ?? expect.unreachable();
  let filled = 0;
  for (
    let got = reader.read(bytes.subarray(0, 999));
    got > 0;
    got = reader.read(bytes.subarray(filled, filled + 70_000))
  )
    filled += got;
  expect(filled).toBe(bytes.length);
  expect(bytes.equals(readFileSync(source))).toBe(true);
});

test("changes packed from the same list can be told apart from nothing", async () => {
  const { layer, blob } = await pack(at, [remove("f"), opaque("d")]);
  const root = await lower();
  const options = {
    compression: "none",
    diffId: layer.diffId,
    index: fresh(),
    signal: never,
  } as const;
  await unpackLayer(chunked(blob), root, { ...options, whiteouts: "apply" });
  expect(Object.keys(root.snapshot())).toEqual(["", "d"]);
});
