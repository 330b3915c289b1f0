import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pack as tarPack, type Header } from "tar-stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FileSource } from "../../../src/context/types.js";
import {
  memoryEntry,
  openArchive,
  planCopy,
  unpackArchives,
} from "../../../src/solver/copy/index.js";
import { expandSource } from "../../../src/solver/copy/expand.js";
import type { Owner } from "../../../src/solver/copy/types.js";
import { contentOf, MemoryTree, NOW, reader, signal, sourceOf } from "./support.js";

let staging: string;
let names = 0;

beforeEach(() => {
  staging = mkdtempSync(join(tmpdir(), "tsbuild-archive-"));
});
afterEach(() => {
  rmSync(staging, { recursive: true, force: true });
});

type Entry = Partial<Header> & { readonly content?: string };

async function tar(...entries: Entry[]): Promise<Buffer> {
  const pack = tarPack();
  const chunks: Uint8Array[] = [];
  pack.on("data", (chunk) => chunks.push(chunk as Uint8Array));
  const ended = new Promise<void>((resolve) => pack.on("end", () => resolve()));
  for (const { content, ...header } of entries) {
    await new Promise<void>((resolve, reject) =>
      pack.entry(header as Header, content ?? "", (error) => (error ? reject(error) : resolve())),
    );
  }
  pack.finalize();
  await ended;
  return Buffer.concat(chunks);
}

const directory = (name: string, header: Partial<Header> = {}): Entry => ({
  name,
  type: "directory",
  mode: 0o755,
  ...header,
});
const symlink = (name: string, linkname: string): Entry => ({ name, type: "symlink", linkname });
const file = (name: string, content: string, header: Partial<Header> = {}): Entry => ({
  name,
  content,
  mode: 0o644,
  ...header,
});

/** A source whose files have these bytes. */
function sourceWith(files: Readonly<Record<string, Buffer>>): FileSource {
  const tree = new MemoryTree(Object.fromEntries(Object.keys(files).map((name) => [name, "x"])));
  for (const [name, bytes] of Object.entries(files)) {
    tree.entries.set(name, memoryEntry(bytes, { mtimeNs: 1n }));
  }
  return { ...sourceOf({}), tree };
}

async function add(
  files: Readonly<Record<string, Buffer>>,
  words: readonly string[],
  target: string,
  options: { readonly root?: MemoryTree; readonly owner?: Owner; readonly link?: boolean } = {},
): Promise<MemoryTree> {
  const source = sourceWith(files);
  const items = [];
  for (const word of words)
    items.push(...(await expandSource(source, word, { parents: false, signal })));
  const spoolPath = () => join(staging, `spool-${names++}`);
  await using unpacked = await unpackArchives(items, { downloads: false, spoolPath, signal });
  const root = options.root ?? new MemoryTree();
  const changes = planCopy({
    ...options,
    items: unpacked.items,
    target,
    workdir: "/",
    root,
    createdNs: NOW,
  });
  const tree = root.apply(changes);
  // Contents are read before the archive is gone.
  for (const [path, entry] of tree.entries) {
    if (entry.type === "file") {
      const content = Buffer.from(contentOf(entry) ?? "");
      tree.entries.set(path, { ...entry, open: () => reader(content) });
    }
  }
  return tree;
}

const sample = () =>
  tar(
    directory("d/", { mode: 0o750, uid: 7, gid: 8, mtime: new Date(5000) }),
    file("d/f", "F", { mode: 0o640, uid: 99, gid: 98, mtime: new Date(1234567890_000) }),
    symlink("d/l", "f"),
    {
      name: "d/h",
      type: "link",
      linkname: "d/f",
      mode: 0o640,
      uid: 99,
      gid: 98,
      mtime: new Date(1234567890_000),
    },
    file("x", "X", { mode: 0o755 }),
  );

function pipe(command: string, input: Buffer): Buffer {
  return execFileSync(command, ["-c"], { input, maxBuffer: 1 << 28 });
}

describe("what is an archive", () => {
  const available = ["gzip", "bzip2", "xz", "zstd"].filter((command) => {
    const found = (process.env["PATH"] ?? "")
      .split(":")
      .some((at) => existsSync(join(at, command)));
    if (!found) console.log(`skipped: no ${command} on this machine`);
    return found;
  });

  test.each(["plain", ...available])(
    "%s is unpacked, with owners, modes and times",
    async (command) => {
      const plain = await sample();
      const bytes = command === "plain" ? plain : pipe(command, plain);
      const tree = await add({ "t.bin": bytes }, ["t.bin"], "/out");
      expect(tree.show()).toEqual({
        "out/": "",
        "out/d/": "",
        "out/d/f": "F",
        "out/d/h": "F",
        "out/d/l": "-> f",
        "out/x": "X",
      });
      expect(tree.lstat("out")).toMatchObject({ mode: 0o755, uid: 0, gid: 0 });
      expect(tree.lstat("out/d")).toMatchObject({
        mode: 0o750,
        uid: 7,
        gid: 8,
        mtimeNs: 5_000_000_000n,
      });
      expect(tree.lstat("out/d/f")).toMatchObject({
        mode: 0o640,
        uid: 99,
        gid: 98,
        mtimeNs: 1234567890_000_000_000n,
      });
      expect(tree.lstat("out/d/h")?.linkGroup).toBe(tree.lstat("out/d/f")?.linkGroup);
      expect(tree.lstat("out/d/f")?.linkGroup).toBeDefined();
      // A link's own mode is no mode of anything.
      expect(tree.lstat("out/d/l")).toMatchObject({ type: "symlink", mode: 0o777 });
    },
  );

  test("an entry that names a file once more describes it anew, for all of its names", async () => {
    const mtime = new Date(6000);
    const link = { name: "h", type: "link", linkname: "f", mode: 0o4711, uid: 9, gid: 8, mtime };
    const bytes = await tar(file("f", "F", { mode: 0o600, uid: 1 }), { ...link, type: "link" });
    const tree = await add({ t: bytes }, ["t"], "/out/");
    for (const name of ["out/f", "out/h"]) {
      expect(tree.lstat(name)).toMatchObject({
        mode: 0o4711,
        uid: 9,
        gid: 8,
        mtimeNs: 6_000_000_000n,
      });
    }
    expect(tree.lstat("out/h")?.linkGroup).toBe(tree.lstat("out/f")?.linkGroup);
  });

  test("what wildcards match is, what is inside a directory is not", async () => {
    const a = await tar(file("foo", "content0"));
    const b = await tar(file("bar", "content1"));
    const tree = await add({ "a.tar": a, "b.tar": b, "dir/c.tar": a }, ["*.tar", "dir"], "/dest");
    expect(Object.keys(tree.show())).toEqual(["dest/", "dest/bar", "dest/c.tar", "dest/foo"]);
  });

  test.each<[string, () => Promise<Buffer> | Buffer]>([
    ["an empty file", () => Buffer.alloc(0)],
    ["text", () => Buffer.from("hello ".repeat(500))],
    ["zeros", () => Buffer.alloc(4096)],
    ["an archive without entries", () => tar()],
    ["compressed text", () => pipe("gzip", Buffer.from("hello ".repeat(500)))],
    ["what begins as gzip", () => Buffer.concat([Buffer.of(0x1f, 0x8b), Buffer.alloc(2000, 7)])],
    ["what begins as bzip2", () => Buffer.concat([Buffer.from("BZh9"), Buffer.alloc(2000, 7)])],
    [
      "what begins as xz",
      () => Buffer.concat([Buffer.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), Buffer.alloc(2000, 7)]),
    ],
  ])("%s is none and is copied", async (_, make) => {
    const bytes = await make();
    const tree = await add({ f: bytes }, ["f"], "/d/");
    expect(tree.lstat("d/f")).toMatchObject({ type: "file", size: bytes.length });
    expect(readdirSync(staging)).toEqual([]);
  });

  test("one that is damaged further on is an error, and nothing is left of it", async () => {
    const whole = await tar(file("a", "A"), file("b", "B".repeat(100_000)));
    await expect(add({ f: whole.subarray(0, 60_000) }, ["f"], "/d/")).rejects.toMatchObject({
      code: "CONTEXT_UNREADABLE",
    });
    expect(readdirSync(staging)).toEqual([]);
  });

  test("big and small files come back byte by byte, in any order", async () => {
    const big = Buffer.from(Array.from({ length: 1_000_003 }, (_, i) => i % 251)).toString(
      "latin1",
    );
    const bytes = await tar(file("1", "one"), file("2", big), file("3", ""), file("4", "four"));
    const path = join(staging, "spool");
    await using archive = await openArchive(memoryEntry(bytes, { mtimeNs: 0n }), {
      what: "t",
      spoolPath: path,
      signal,
    });
    const entries = [...(archive?.entries ?? [])].map((place) => archive?.log.at(place));
    const contents = entries.map((logged) => {
      if (archive === undefined || logged === undefined) return undefined;
      const { entry, content } = logged;
      return contentOf({ ...entry, open: () => archive.open(content, entry.size) });
    });
    expect(contents).toEqual(["one", big, "", "four"]);
    expect(existsSync(path)).toBe(false);
  });

  test("holes of sparse files are zeros", async () => {
    const path = join(staging, "sparse");
    writeFileSync(path, "");
    execFileSync("truncate", ["-s", "300000", path]);
    execFileSync("sh", ["-c", `printf end >> ${path}`]);
    const bytes = execFileSync("tar", ["-cS", "-C", staging, "sparse"], { maxBuffer: 1 << 24 });
    const tree = await add({ "s.tar": bytes }, ["s.tar"], "/");
    expect(contentOf(tree.lstat("sparse"))).toBe(`${"\0".repeat(300_000)}end`);
  });

  test("an abort stops reading", async () => {
    const controller = new AbortController();
    controller.abort();
    const options = { what: "t", spoolPath: join(staging, "s"), signal: controller.signal };
    await expect(
      openArchive(memoryEntry(await sample(), { mtimeNs: 0n }), options),
    ).rejects.toThrow();
  });
});

describe("unpacking", () => {
  test("gives everything the owner of --chown, the destination too", async () => {
    const bytes = await tar(
      file("foo", "0", { uid: 5 }),
      directory("sub/", { uid: 5 }),
      file("sub/x", "x"),
    );
    const owner = { uid: 100, gid: 200 };
    const tree = await add({ t: bytes }, ["t"], "/out/", { owner });
    for (const path of ["out", "out/foo", "out/sub", "out/sub/x"])
      expect(tree.lstat(path)).toMatchObject(owner);
  });

  test("merges into what exists: directories take the archive's metadata, files are replaced", async () => {
    const root = new MemoryTree({ "d/": { mode: 0o700 }, "d/keep": "old", "d/f": "old" });
    const tree = await add({ t: await sample() }, ["t"], "/", { root });
    expect(tree.lstat("d")).toMatchObject({ mode: 0o750, uid: 7, gid: 8 });
    expect(tree.show()).toMatchObject({ "d/keep": "old", "d/f": "F" });
  });

  test("replaces files by directories and directories by files", async () => {
    const root = new MemoryTree({ a: "file", "b/c/d": "deep", "b/x": "x" });
    const bytes = await tar(directory("a/"), file("a/n", "n"), file("b/c", "now a file"));
    expect((await add({ t: bytes }, ["t"], "/", { root })).show()).toEqual({
      "a/": "",
      "a/n": "n",
      "b/": "",
      "b/c": "now a file",
      "b/x": "x",
    });
  });

  test("a directory that was replaced and comes back is empty", async () => {
    const root = new MemoryTree({ "d/old": "old" });
    const bytes = await tar(file("d", "file"), directory("d/"), file("d/new", "new"));
    expect((await add({ t: bytes }, ["t"], "/", { root })).show()).toEqual({
      "d/": "",
      "d/new": "new",
    });
  });

  test("makes parents that the archive does not have, 0755 and root's", async () => {
    const tree = await add({ t: await tar(file("a/b/c", "C", { uid: 9 })) }, ["t"], "/out");
    expect(tree.lstat("out/a/b")).toMatchObject({ mode: 0o755, uid: 0, gid: 0, mtimeNs: NOW });
    expect(tree.lstat("out/a/b/c")).toMatchObject({ uid: 9 });
  });

  test("does not touch the destination for ./", async () => {
    const root = new MemoryTree({ "d/": { mode: 0o711, uid: 4 } });
    const bytes = await tar(directory("./", { mode: 0o777, uid: 1 }), file("./f", "F"));
    const tree = await add({ t: bytes }, ["t"], "/d", { root });
    expect(tree.lstat("d")).toMatchObject({ mode: 0o711, uid: 4 });
    expect(tree.lstat("d/f")?.type).toBe("file");
  });

  test("two archives and a file at once: the later wins", async () => {
    const a = await tar(file("x", "a"), file("y", "a"));
    const b = await tar(file("y", "b"));
    const tree = await add({ a, b, x: Buffer.from("plain") }, ["a", "b", "x"], "/d/");
    expect(tree.show()).toEqual({ "d/": "", "d/x": "plain", "d/y": "b" });
  });

  test("goes where links of the image lead, absolute ones too", async () => {
    const root = new MemoryTree({ "run/": {}, "var/run": { link: "/run" } });
    const bytes = await tar(directory("var/run/act/"), file("var/run/act/HEAD", "ref\n"), {
      name: "var/run/act/HEAD.link",
      type: "link",
      linkname: "var/run/act/HEAD",
    });
    const tree = await add({ t: bytes }, ["t"], "/", { root });
    expect(tree.show()).toMatchObject({
      "var/run": "-> /run",
      "run/act/HEAD": "ref\n",
      "run/act/HEAD.link": "ref\n",
    });
    expect(tree.lstat("run/act/HEAD")?.linkGroup).toBe(tree.lstat("run/act/HEAD.link")?.linkGroup);
  });

  test("with --link it sees nothing of the image", async () => {
    const root = new MemoryTree({ x: { link: "/elsewhere" } });
    const tree = await add({ t: await tar(file("in", "tar")) }, ["t"], "/x/", { root, link: true });
    expect(tree.show()).toEqual({ "x/": "", "x/in": "tar" });
  });
});

describe("an archive cannot leave its destination", () => {
  test("by ..", async () => {
    const tree = await add(
      { t: await tar(file("../../evil", "e"), file("/abs", "a")) },
      ["t"],
      "/sub/",
    );
    expect(tree.show()).toEqual({ "sub/": "", "sub/abs": "a", "sub/evil": "e" });
  });

  test("by a link that it brings: the destination is its root", async () => {
    const bytes = await tar(
      directory("etc/"),
      symlink("l", "../../../../../etc"),
      file("l/planted", "p"),
      symlink("abs", "/etc"),
      file("abs/too", "t"),
    );
    const root = new MemoryTree({ "etc/passwd": "root" });
    const tree = await add({ t: bytes }, ["t"], "/sub/", { root });
    expect(tree.show()).toMatchObject({
      "sub/etc/planted": "p",
      "sub/etc/too": "t",
      "sub/l": "-> ../../../../../etc",
    });
    expect(tree.lstat("etc/planted")).toBeUndefined();
  });

  test("by a hard link", async () => {
    const bytes = await tar(file("f", "F"), {
      name: "h",
      type: "link",
      linkname: "../../etc/passwd",
    });
    const root = new MemoryTree({ "etc/passwd": "secret" });
    await expect(add({ t: bytes }, ["t"], "/sub/", { root })).rejects.toThrow(/"h".*missing/);
  });

  test("an endless link is an error and not a hang", async () => {
    const bytes = await tar(symlink("a", "b"), symlink("b", "a"), file("a/x", "x"));
    await expect(add({ t: bytes }, ["t"], "/")).rejects.toThrow(/"a\/x"/);
  });

  test("a hard link to a file of an earlier layer says so where its content is out of reach", async () => {
    const root = new MemoryTree({ "lower/": {} });
    root.entries.set("lower/f", { ...root.lstat("lower")!, type: "file", mode: 0o644, size: 1 });
    const bytes = await tar({ name: "h", type: "link", linkname: "lower/f" });
    await expect(add({ t: bytes }, ["t"], "/", { root })).rejects.toThrow(/in an earlier layer/);
  });
});
