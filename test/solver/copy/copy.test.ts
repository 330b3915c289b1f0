import { describe, expect, test } from "vitest";
import { memoryEntry, planCopy, planWorkdir } from "../../../src/solver/copy/index.js";
import { parseChmod } from "../../../src/solver/copy/chmod.js";
import { contentOf, copied, copy, MemoryTree, NOW, sourceOf, written } from "./support.js";

describe("where a copy goes", () => {
  test("a file takes a new name, or goes into a directory that ends with a slash", async () => {
    const files = { "test.txt": "t" };
    expect((await copied(files, "test.txt /abs")).show()).toEqual({ abs: "t" });
    expect((await copied(files, "test.txt /dir/")).show()).toEqual({
      "dir/": "",
      "dir/test.txt": "t",
    });
    expect((await copied(files, "test.txt /dir/.")).show()).toEqual({
      "dir/": "",
      "dir/test.txt": "t",
    });
    expect((await copied(files, "test.txt rel/sub/name")).show()).toEqual({
      "rel/": "",
      "rel/sub/": "",
      "rel/sub/name": "t",
    });
  });

  test.each([
    ["./", "w/test.txt"],
    [".", "w/test.txt"],
    ["", "w/test.txt"],
    ["other/", "w/other/test.txt"],
    ["../up", "up"],
    ["/../../up", "up"],
    ["sub/../name", "w/name"],
  ])("%j is relative to the working directory: %j", async (target, path) => {
    const items = [
      { kind: "path", source: sourceOf({ "test.txt": "t" }), path: "test.txt" },
    ] as const;
    const root = new MemoryTree({ "w/": {} });
    const changes = [...planCopy({ items, target, workdir: "/w", root, createdNs: NOW })];
    expect(written(changes).at(-1)).toBe(path);
  });

  test("an existing directory is gone into without a slash too", async () => {
    const root = new MemoryTree({ "d/": {} });
    expect((await copied({ f: "F" }, "f /d", { root })).show()).toEqual({ "d/": "", "d/f": "F" });
  });

  test("several files onto a name without a slash overwrite each other", async () => {
    const changes = await copy({ a: "A", b: "B" }, "a b /dest");
    expect(written(changes)).toEqual(["dest"]);
    expect((await copied({ a: "A", b: "B" }, "a b /dest")).show()).toEqual({ dest: "B" });
  });

  test("files and the contents of directories come together", async () => {
    const files = { a: "1", "d/in": "4", e1: "5", "e2/in2": "6" };
    expect((await copied(files, "a d/ e* /out/")).show()).toEqual({
      "out/": "",
      "out/a": "1",
      "out/e1": "5",
      "out/in": "4",
      "out/in2": "6",
    });
  });

  test("the layer is sorted, parents first, and holds no path twice", async () => {
    const files = { "b/y": "1", "b/x": "2", "a/z": "3", "c/x": "4" };
    expect(written(await copy(files, "b a c/ /t/"))).toEqual(["t/", "t/x", "t/y", "t/z"]);
  });

  test("parents that exist are carried along as they are, and only those of what is written", async () => {
    const root = new MemoryTree({
      "tmp/": { mode: 0o1777, uid: 3, gid: 4, mtimeNs: 77n },
      "other/": {},
      "tmp/old": "old",
    });
    const changes = await copy({ f: "x" }, "f /tmp/f", { root });
    expect(written(changes)).toEqual(["tmp/", "tmp/f"]);
    expect(changes[0]).toMatchObject({ entry: { mode: 0o1777, uid: 3, gid: 4, mtimeNs: 77n } });
  });

  test("a root that describes nothing, not even itself, is an empty directory", async () => {
    const nothing = { lstat: () => undefined, list: () => [], read: () => undefined };
    expect(written(await copy({ f: "F" }, "f /d/", { root: nothing }))).toEqual(["d/", "d/f"]);
  });

  test("a copy of nothing into an existing directory writes nothing", async () => {
    const root = new MemoryTree({ "d/": {} });
    expect(await copy({ "empty/": {} }, "empty /d", { root })).toEqual([]);
  });

  test("a heredoc is a file of its name, 0644, owned by root", () => {
    const entry = memoryEntry(Buffer.from("hello\n"), { mtimeNs: NOW });
    const items = [{ kind: "file", name: "robots.txt", entry }] as const;
    const changes = [
      ...planCopy({
        items,
        target: "/test/",
        workdir: "/",
        root: new MemoryTree(),
        createdNs: NOW,
      }),
    ];
    const tree = new MemoryTree().apply(changes);
    expect(tree.lstat("test/robots.txt")).toMatchObject({ mode: 0o644, uid: 0, gid: 0, size: 6 });
    expect(contentOf(tree.lstat("test/robots.txt"))).toBe("hello\n");
  });
});

describe("what directories look like afterwards", () => {
  test("an existing destination takes the time of the directory whose content it gets, and nothing else of it", async () => {
    const source = sourceOf({ "src/": { mode: 0o700, uid: 5, mtimeNs: 99n }, "src/f": "x" });
    const before = { mode: 0o711, uid: 3, gid: 4, mtimeNs: 7n };
    const root = new MemoryTree({ "dst/": before });
    const tree = await copied(source, "src /dst/", { root });
    expect(tree.lstat("dst")).toMatchObject({ ...before, mtimeNs: 99n });
    const made = await copied(source, "src /made/");
    expect(made.lstat("made")).toMatchObject({ mode: 0o755, uid: 0, mtimeNs: 99n });
  });

  test("a new destination is 0755 and root's, whatever the source is; what is below keeps its mode", async () => {
    const source = sourceOf({
      "secret/": { mode: 0o700, uid: 5, gid: 6, mtimeNs: 99n },
      "secret/in/": { mode: 0o711, uid: 7, gid: 8 },
      "secret/f": { content: "x", uid: 9, gid: 10 },
    });
    const tree = await copied(source, "secret /a/dst");
    expect(tree.lstat("a")).toMatchObject({ mode: 0o755, uid: 0, gid: 0, mtimeNs: NOW });
    expect(tree.lstat("a/dst")).toMatchObject({ mode: 0o755, uid: 0, gid: 0, mtimeNs: 99n });
    expect(tree.lstat("a/dst/in")).toMatchObject({ mode: 0o711, uid: 7, gid: 8 });
    expect(tree.lstat("a/dst/f")).toMatchObject({ uid: 9, gid: 10 });
  });

  test("an existing destination keeps what it is, directories below take the source's", async () => {
    const root = new MemoryTree({
      "e/": { mode: 0o750, uid: 500, gid: 600 },
      "e/sub/": { mode: 0o700, uid: 501, gid: 601 },
      "e/other/": { mode: 0o711, uid: 502, gid: 602 },
      "e/sub/keep": "kept",
    });
    const source = sourceOf({
      "d/": { mode: 0o777, uid: 1, gid: 1 },
      "d/sub/": { mode: 0o775, uid: 101, gid: 201 },
      "d/sub/n": "n",
    });
    const tree = await copied(source, "d/. /e", { root });
    expect(tree.lstat("e")).toMatchObject({ mode: 0o750, uid: 500, gid: 600 });
    expect(tree.lstat("e/sub")).toMatchObject({ mode: 0o775, uid: 101, gid: 201 });
    expect(tree.lstat("e/other")).toMatchObject({ mode: 0o711, uid: 502, gid: 602 });
    expect(contentOf(tree.lstat("e/sub/keep"))).toBe("kept");
  });

  test("--chown is for files, directories and parents that are made, not for those that exist", async () => {
    const root = new MemoryTree({ "e/": { uid: 500, gid: 600 } });
    const owner = { uid: 7, gid: 8 };
    const tree = await copied({ "d/s/f": "x" }, "d /e/a/b", { root, owner });
    for (const path of ["e/a", "e/a/b", "e/a/b/s", "e/a/b/s/f"]) {
      expect(tree.lstat(path)).toMatchObject(owner);
    }
    expect(tree.lstat("e")).toMatchObject({ uid: 500, gid: 600 });
  });

  test("an octal --chmod is for everything that is made", async () => {
    const files = { "d/a": { content: "x", mode: 0o600 }, "d/s/": { mode: 0o700 }, "d/s/b": "y" };
    const tree = await copied(files, "d /p/d", { chmod: parseChmod("4750") });
    expect(tree.lstat("p")?.mode).toBe(0o750);
    expect(tree.lstat("p/d")?.mode).toBe(0o750);
    expect(tree.lstat("p/d/s")?.mode).toBe(0o4750);
    expect(tree.lstat("p/d/s/b")?.mode).toBe(0o4750);
  });

  test("a symbolic --chmod starts from each file's own mode and leaves links and new parents alone", async () => {
    const files = {
      "tree/run": { content: "r", mode: 0o700 },
      "tree/data": { content: "d", mode: 0o600 },
      "tree/sub/": { mode: 0o700 },
      "tree/l": { link: "run" },
    };
    const tree = await copied(files, "tree /t", { chmod: parseChmod("u=rwX,go=rX") });
    expect(tree.lstat("t")?.mode).toBe(0o755);
    expect(tree.lstat("t/run")?.mode).toBe(0o755);
    expect(tree.lstat("t/data")?.mode).toBe(0o644);
    expect(tree.lstat("t/sub")?.mode).toBe(0o755);
    expect(tree.lstat("t/l")?.mode).toBe(0o777);
  });
});

describe("what files keep", () => {
  test("mode with set-id and sticky bits, time, attributes and owner", async () => {
    const xattrs = new Map([["security.capability", Buffer.of(1, 0, 255)]]);
    const files = {
      "d/f": { content: "x", mode: 0o6755, mtimeNs: 123n, xattrs, uid: 65, gid: 66 },
    };
    const entry = (await copied(files, "d/f /f")).lstat("f");
    expect(entry).toMatchObject({ mode: 0o6755, mtimeNs: 123n, uid: 65, gid: 66 });
    expect(entry?.xattrs).toEqual(xattrs);
  });

  test("hard links inside one source stay, across sources they do not", async () => {
    const files = {
      "p/a": { content: "same", linkGroup: "1" },
      "p/b": { content: "same", linkGroup: "1" },
      "q/a2": { content: "same", linkGroup: "1" },
    };
    const tree = await copied(files, "p q /");
    expect(tree.lstat("a")?.linkGroup).toBeDefined();
    expect(tree.lstat("a")?.linkGroup).toBe(tree.lstat("b")?.linkGroup);
    expect(tree.lstat("a2")?.linkGroup).not.toBe(tree.lstat("a")?.linkGroup);
  });

  test("a further name of a file in a layer's index is that file", async () => {
    const files = { a: "same", "d/b": { type: "hardlink", link: "a" } as const };
    const tree = await copied(files, "d/b /x");
    expect(tree.show()).toEqual({ x: "same" });
  });

  test("sockets become empty files, pipes and devices stay", async () => {
    const files = {
      "d/s": { type: "socket" },
      "d/p": { type: "fifo" },
      "d/c": { type: "char" },
    } as const;
    const tree = await copied(files, "d /");
    expect(tree.lstat("s")).toMatchObject({ type: "file", size: 0 });
    expect(contentOf(tree.lstat("s"))).toBe("");
    expect(tree.lstat("p")?.type).toBe("fifo");
    expect(tree.lstat("c")?.type).toBe("char");
  });
});

describe("sources", () => {
  test("leading slashes and dots stay inside the source", async () => {
    const files = { foo: "f", "sub/x": "x" };
    for (const word of ["/foo", "../foo", "../../sub/../foo", "./foo", "sub/../foo", "//foo"]) {
      expect((await copied(files, `${word} /1`)).show()).toEqual({ "1": "f" });
    }
    expect((await copied(files, "sub// /1")).show()).toEqual({ "1/": "", "1/x": "x" });
  });

  test("a link that is named is followed inside its root, those below stay", async () => {
    const files = {
      abs: { link: "/etc/passwd" },
      up: { link: "../../../../etc/passwd" },
      "etc/passwd": "from-context",
      link: { link: "sub" },
      "sub/foo": "contents",
      "sub/l": { link: "foo" },
    };
    expect((await copied(files, "abs up /d/")).show()).toMatchObject({
      "d/abs": "from-context",
      "d/up": "from-context",
    });
    expect((await copied(files, "link/foo /")).show()).toEqual({ foo: "contents" });
    expect((await copied(files, "link /v")).show()).toEqual({
      "v/": "",
      "v/foo": "contents",
      "v/l": "-> foo",
    });
  });

  test("a missing one is an error in BuildKit's words, with the ignore pattern as the hint", async () => {
    await expect(copy({ a: "" }, "secret /s")).rejects.toMatchObject({
      code: "CONTEXT_UNREADABLE",
      message: 'tried to copy from the context: failed to compute cache key: "/secret": not found',
      hint: undefined,
    });
    const source = sourceOf({ a: "" }, { ignored: "sec*" });
    await expect(copy(source, "secret /s")).rejects.toMatchObject({
      hint: 'the ignore file excludes it with the pattern "sec*"',
    });
    await expect(copy({ a: "" }, "a/below /s")).rejects.toThrow('"/a/below": not found');
    await expect(copy({ l: { link: "gone" } }, "l /s")).rejects.toThrow('"/l": not found');
    await expect(copy({ l: { link: "l" } }, "l /s")).rejects.toThrow('"/l": not found');
  });
});

describe("wildcards in sources", () => {
  const files = {
    "foo.go": "foo",
    "bar.go": "bar",
    ".hidden": "h",
    "sub/x": "x",
    "sub/y/x": "n",
    "sub/dir1/dir2/foo": "deep",
    "app/[xyz]/file.txt": "odd",
    "arr[0].txt": "arr",
    dirlink: { link: "sub" },
  };

  test("match within one element, dot files too, directories by their contents", async () => {
    expect((await copied(files, "*.go /g/")).show()).toEqual({
      "g/": "",
      "g/bar.go": "bar",
      "g/foo.go": "foo",
    });
    expect((await copied(files, "ba?.g[aop] /q")).show()).toEqual({ q: "bar" });
    expect((await copied(files, "s*b/x /s/")).show()).toEqual({ "s/": "", "s/x": "x" });
    expect((await copied(files, "sub/*/dir2/foo /d/bar")).show()).toMatchObject({
      "d/bar": "deep",
    });
    const all = (await copied(files, "* /all/")).show();
    expect(all).toMatchObject({ "all/.hidden": "h", "all/x": "x", "all/dir1/dir2/foo": "deep" });
    expect(all).not.toHaveProperty("all/sub/");
  });

  test("two stars are one", async () => {
    const deep = { "top.txt": "0", "a/mid.txt": "1", "a/b/deep.txt": "2" };
    expect((await copied(deep, "**/*.txt /one/")).show()).toEqual({
      "one/": "",
      "one/mid.txt": "1",
    });
  });

  test("a bracket in brackets is a bracket", async () => {
    expect((await copied(files, "app/[[]xyz]/file.txt arr[[]0].txt /e/")).show()).toMatchObject({
      "e/file.txt": "odd",
      "e/arr[0].txt": "arr",
    });
  });

  test("links are not walked through", async () => {
    expect(await copy(files, "dir*/x /d/")).toEqual([]);
  });

  test("one that matches nothing is no error and makes nothing", async () => {
    expect(await copy(files, "nomatch* /dest/")).toEqual([]);
    expect((await copied(files, "foo.go nomatch* /")).show()).toEqual({ "foo.go": "foo" });
  });

  test("a malformed one is an error", async () => {
    await expect(copy(files, "a[ /x")).rejects.toThrow(/syntax error in pattern/);
    await expect(copy(files, "nodir/* /x")).rejects.toThrow('"/nodir": not found');
  });
});

describe("links in the destination", () => {
  test("are followed inside the root, absolute, upwards and dangling ones too", async () => {
    const root = () =>
      new MemoryTree({ real: "old", lnk: { link: "/real" }, s: { link: "../../../tmp/target" } });
    expect((await copied({ f: "new" }, "f /lnk", { root: root() })).show()).toMatchObject({
      lnk: "-> /real",
      real: "new",
    });
    expect((await copied({ f: "F" }, "f /s/", { root: root() })).show()).toMatchObject({
      s: "-> ../../../tmp/target",
      "tmp/target/f": "F",
    });
    expect((await copied({ f: "F" }, "f /s", { root: root() })).show()).toMatchObject({
      "tmp/target": "F",
    });
  });

  test("a file replaces a link that stands in a copied tree's way", async () => {
    const root = new MemoryTree({ "t/real": "old", "t/x": { link: "real" } });
    expect((await copied({ "d/x": "new" }, "d /t", { root })).show()).toEqual({
      "t/": "",
      "t/real": "old",
      "t/x": "new",
    });
  });

  test("a link of the source replaces a file", async () => {
    const root = new MemoryTree({ "t/x": "old" });
    expect((await copied({ "d/x": { link: "y" } }, "d /t", { root })).show()["t/x"]).toBe("-> y");
  });
});

describe("conflicts", () => {
  test("a directory does not replace what is none", async () => {
    const root = new MemoryTree({ x: "file", "m/l": { link: "directory" }, "m/directory/": {} });
    await expect(copy({ "d/a": "a" }, "d /x", { root })).rejects.toThrow(
      /cannot copy to non-directory: \/x/,
    );
    await expect(copy({ "d/l/f": "a" }, "d /m", { root })).rejects.toThrow(/non-directory: \/m\/l/);
    await expect(copy({ f: "a" }, "f /x/", { root })).rejects.toThrow(/director/);
    await expect(copy({ f: "a" }, "f /x/y/z", { root })).rejects.toThrow(/director/);
  });

  test("a file does not replace a directory", async () => {
    const root = new MemoryTree({ "d/f/": {} });
    await expect(copy({ f: "a" }, "f /d", { root })).rejects.toThrow(
      /cannot replace to directory \/d\/f/,
    );
    await expect(copy({ "s/f": "a" }, "s /d", { root })).rejects.toThrow(
      /cannot replace to directory/,
    );
  });

  test("nor do sources of one instruction among themselves", async () => {
    await expect(copy({ f: "a", "d/x": "" }, "f d /x")).rejects.toThrow(/non-directory/);
    await expect(copy({ "a/x/y": "", "b/x": "" }, "a b /t")).rejects.toThrow(
      /replace to directory/,
    );
  });
});

describe("--link", () => {
  test("does not see what is below: links become directories, modes are made anew", async () => {
    const root = new MemoryTree({
      "real/": {},
      lnk: { link: "/real" },
      "tmp/": { mode: 0o1777 },
    });
    const tree = await copied({ f: "x" }, "f /lnk/", { root, link: true });
    expect(tree.lstat("lnk")?.type).toBe("directory");
    expect(tree.lstat("lnk/f")?.type).toBe("file");
    expect(tree.lstat("real/f")).toBeUndefined();
    expect((await copied({ f: "x" }, "f /tmp/f", { root, link: true })).lstat("tmp")?.mode).toBe(
      0o755,
    );
  });
});

describe("--parents", () => {
  const files = {
    "x/a.txt": "xa",
    "x/y/a.txt": "xya",
    "x/y/b.txt": "xyb",
    "x/z/a.txt": "xza",
    "x/z/b.txt": "xzb",
    "y/a.txt": "ya",
    "y/b.txt": "yb",
  };
  const names = async (words: string, exclude: string[] = []) =>
    Object.keys((await copied(files, words, { parents: true, exclude })).show());

  test("keeps the path of each source", async () => {
    expect(await names("./x/a.txt ./y/a.txt /p/")).toEqual([
      "p/",
      "p/x/",
      "p/x/a.txt",
      "p/y/",
      "p/y/a.txt",
    ]);
    expect(await names("./x/y /p")).toEqual(["p/", "p/x/", "p/x/y/", "p/x/y/a.txt", "p/x/y/b.txt"]);
  });

  test("leaves out what is before the pivot, wildcards there too", async () => {
    expect(await names("./x/y/./*.txt /p/")).toEqual(["p/", "p/a.txt", "p/b.txt"]);
    expect(await names("./x/./z/ /p/")).toEqual(["p/", "p/z/", "p/z/a.txt", "p/z/b.txt"]);
    expect(await names("./*/./a.txt /p/")).toEqual(["p/", "p/a.txt"]);
    const mixed = { "x/a.txt": "xa", Dockerfile: "" };
    const tree = await copied(mixed, "./*/./a.txt /p/", { parents: true });
    expect(Object.keys(tree.show())).toEqual(["p/", "p/a.txt"]);
  });

  test("two stars are any number of directories", async () => {
    const deep = {
      "t/a/b/c/d/e/bay": "",
      "t/a/b2/c/d/e/bar": "",
      "t/a/b/c2/d/e/baz": "",
      "t/a/b/c/d/foo": "",
    };
    const tree = await copied(deep, "/t/a/b*/./c/**/e /dw/", { parents: true });
    expect(Object.keys(tree.show())).toEqual([
      "dw/",
      "dw/c/",
      "dw/c/d/",
      "dw/c/d/e/",
      "dw/c/d/e/bar",
      "dw/c/d/e/bay",
    ]);
  });

  test("parents keep their own mode; of those that exist only the mode changes", async () => {
    const modes = { "p/": { mode: 0o711, uid: 3 }, "p/q/": { mode: 0o700 }, "p/q/f": "x" };
    const tree = await copied(modes, "p/q/f /out/", { parents: true });
    expect(tree.lstat("out")?.mode).toBe(0o755);
    expect(tree.lstat("out/p")).toMatchObject({ mode: 0o711, uid: 3 });
    expect(tree.lstat("out/p/q")?.mode).toBe(0o700);
    const root = new MemoryTree({ "out/p/": { mode: 0o777, uid: 42 } });
    const onto = await copied(modes, "p/q/f /out/", { parents: true, root });
    expect(onto.lstat("out/p")).toMatchObject({ mode: 0o711, uid: 42 });
  });

  test("what matches nothing leaves the destination alone; a missing path is an error", async () => {
    expect(await names("x/*.go /p/")).toEqual(["p/"]);
    await expect(names("nonexistent /p/")).rejects.toThrow('"/nonexistent": not found');
    await expect(names("x/./nonexistent /p/")).rejects.toThrow('"/x/nonexistent": not found');
  });

  test("links are links", async () => {
    const tree = await copied({ "x/l": { link: "/etc" } }, "x/l /p/", { parents: true });
    expect(tree.show()["p/x/l"]).toBe("-> /etc");
  });

  test("goes together with --exclude", async () => {
    expect(await names("x /out/", ["**/b.txt"])).toEqual([
      "out/",
      "out/x/",
      "out/x/a.txt",
      "out/x/y/",
      "out/x/y/a.txt",
      "out/x/z/",
      "out/x/z/a.txt",
    ]);
  });

  test("a dot is everything", async () => {
    expect(await names(". /p/")).toContain("p/x/z/b.txt");
  });
});

describe("--exclude", () => {
  const files = {
    "app/storage/cache/cache_file": "c",
    "app/storage/views/exception": "e",
    "app/storage/views/test_file": "t",
    "app/a.log": "1",
    "app/sub/b.log": "2",
  };
  const paths = async (words: string, ...exclude: string[]) =>
    Object.keys((await copied(files, words, { exclude })).show()).filter(
      (name) => !name.endsWith("/"),
    );

  test("is relative to each directory", async () => {
    expect(await paths("app/ /a/", "storage/views", "*.log")).toEqual([
      "a/storage/cache/cache_file",
      "a/sub/b.log",
    ]);
    expect(await paths("app /a", "**/test_file", "**/*.log")).toEqual([
      "a/storage/cache/cache_file",
      "a/storage/views/exception",
    ]);
  });

  test("takes back with !, with the directories above", async () => {
    expect(await paths("app /a", "storage", "**/*.log", "!storage/views/exception")).toEqual([
      "a/storage/views/exception",
    ]);
    const tree = await copied(files, "app /a", { exclude: ["**", "!nothing"] });
    expect(tree.show()).toEqual({ "a/": "" });
  });

  test("does not touch a file that is named", async () => {
    expect(await paths("app/a.log /d/", "a.log", "*")).toEqual(["d/a.log"]);
  });

  test("a malformed pattern is an error", async () => {
    await expect(paths("app /a", "[")).rejects.toMatchObject({ code: "DOCKERFILE_INVALID" });
  });
});

describe("WORKDIR", () => {
  const owner = { uid: 1000, gid: 1001 };
  test("makes what is missing, 0755 and the user's, and leaves what exists", () => {
    const root = new MemoryTree({
      "var/": { mode: 0o700, uid: 5 },
      tempest: { link: "/var/tempest" },
    });
    const changes = [...planWorkdir(root, "/tempest//lower/../dir/", { owner, createdNs: NOW })];
    expect(written(changes)).toEqual(["var/", "var/tempest/", "var/tempest/dir/"]);
    expect(changes[0]).toMatchObject({ entry: { mode: 0o700, uid: 5 } });
    expect(changes[1]).toMatchObject({ entry: { mode: 0o755, ...owner, mtimeNs: NOW } });
    expect([...planWorkdir(root, "/var", { owner, createdNs: NOW })]).toEqual([]);
    expect([...planWorkdir(root, "/", { owner, createdNs: NOW })]).toEqual([]);
  });

  test("a file in the way is an error", () => {
    const root = new MemoryTree({ f: "" });
    expect(() => planWorkdir(root, "/f", { owner, createdNs: NOW })).toThrow(/not a directory/);
    expect(() => planWorkdir(root, "/f/g", { owner, createdNs: NOW })).toThrow(/director/);
  });
});
