import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findIgnoreFile, openDirectory, parseIgnoreFile } from "../../src/context/index.js";
import type { FileSource } from "../../src/context/types.js";
import type { Tree } from "../../src/oci/tree.js";

const { signal } = new AbortController();
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-context-"));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function put(path: string, content = path): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

async function open(ignore?: string): Promise<FileSource> {
  const ignoreFile = ignore === undefined ? undefined : { path: ".dockerignore", text: ignore };
  return openDirectory(root, { name: "context", ignoreFile, signal });
}

function walk(tree: Tree, path = ""): string[] {
  return tree.list(path).flatMap((name) => {
    const child = path === "" ? name : `${path}/${name}`;
    return [child, ...walk(tree, child)];
  });
}

const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString();

describe("a directory as a context", () => {
  test("files belong to root and keep mode, time and size", async () => {
    put("d/f", "hello");
    chmodSync(join(root, "d/f"), 0o4751);
    utimesSync(join(root, "d/f"), 1485449953, 1485449953);
    const { tree } = await open();
    expect(tree.lstat("d/f")).toMatchObject({
      type: "file",
      mode: 0o4751,
      uid: 0,
      gid: 0,
      size: 5,
      mtimeNs: 1485449953_000000000n,
    });
    expect(tree.lstat("d")).toMatchObject({ type: "directory", size: 0, uid: 0 });
    expect(tree.lstat("")).toMatchObject({ type: "directory" });
    expect(text(tree.read("d/f"))).toBe("hello");
    expect(tree.lstat("d/none")).toBeUndefined();
    expect(tree.lstat("d/f/below")).toBeUndefined();
    expect(tree.read("d")).toBeUndefined();
    expect(tree.list("d/f")).toEqual([]);
  });

  test("names are sorted by their bytes", async () => {
    for (const name of ["b", "a", "Z", "é", "\uFFFF", "😀", ".dot"]) put(name);
    const { tree } = await open();
    expect(tree.list("")).toEqual([".dot", "Z", "a", "b", "é", "\uFFFF", "😀"]);
  });

  test("links are links, and nothing is reached through one", async () => {
    put("sub/foo");
    symlinkSync("sub", join(root, "link"));
    symlinkSync("/etc", join(root, "out"));
    const { tree } = await open();
    expect(tree.lstat("link")).toMatchObject({ type: "symlink", linkTarget: "sub", size: 0 });
    expect(tree.lstat("link/foo")).toBeUndefined();
    expect(tree.lstat("out/passwd")).toBeUndefined();
    expect(tree.read("out/passwd")).toBeUndefined();
    expect(tree.list("out")).toEqual([]);
  });

  test("names of one file share a link group", async () => {
    put("a");
    put("lonely");
    mkdirSync(join(root, "sub"));
    linkSync(join(root, "a"), join(root, "sub/b"));
    const { tree } = await open();
    expect(tree.lstat("a")?.linkGroup).toBeDefined();
    expect(tree.lstat("a")?.linkGroup).toBe(tree.lstat("sub/b")?.linkGroup);
    expect(tree.lstat("lonely")?.linkGroup).toBeUndefined();
  });

  test("pipes and sockets are what they are", async () => {
    execFileSync("mkfifo", [join(root, "pipe")]);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(root, "socket"), resolve));
    const { tree } = await open();
    expect(tree.lstat("pipe")?.type).toBe("fifo");
    expect(tree.lstat("socket")?.type).toBe("socket");
    await new Promise((resolve) => server.close(resolve));
  });

  test("a file that became a link is not opened", async () => {
    put("f", "inside");
    put("g", "inside");
    const entry = (await open()).tree.lstat("f");
    renameSync(join(root, "f"), join(root, "gone"));
    symlinkSync("/etc/passwd", join(root, "f"));
    expect(() => entry?.open?.()).toThrow(/changed during the build/);
  });

  test("a file that was replaced or shortened is an error, not other content", async () => {
    put("f", "first");
    put("g", "0123456789");
    const { tree } = await open();
    const replaced = tree.lstat("f");
    put("other", "second");
    renameSync(join(root, "other"), join(root, "f"));
    expect(() => replaced?.open?.()).toThrow(/changed during the build/);
    const rewritten = tree.lstat("g");
    utimesSync(join(root, "g"), 5, 5);
    expect(() => rewritten?.open?.()).toThrow(/changed during the build/);
    const reader = tree.lstat("g")?.open?.();
    writeFileSync(join(root, "g"), "");
    expect(() => reader?.read(new Uint8Array(10))).toThrow(/changed during the build/);
    reader?.[Symbol.dispose]();
  });

  test("a name that is not UTF-8 is an error and not another name", async () => {
    writeFileSync(Buffer.concat([Buffer.from(`${root}/x`), Buffer.of(0xff)]), "");
    const { tree } = await open();
    expect(() => tree.list("")).toThrow(/not UTF-8/);
  });

  test("a missing context and a file as context are named", async () => {
    const options = { name: "context", signal };
    await expect(openDirectory(join(root, "no"), options)).rejects.toMatchObject({
      code: "CONTEXT_UNREADABLE",
      message: expect.stringContaining("no such directory") as string,
    });
    put("file");
    await expect(openDirectory(join(root, "file"), options)).rejects.toThrow(/not a directory/);
  });

  test("attributes come from who can read them", async () => {
    put("f");
    const source = await openDirectory(root, {
      name: "context",
      xattrs: (path) => new Map([["user.path", Buffer.from(path)]]),
      signal,
    });
    expect(text(source.tree.lstat("f")?.xattrs.get("user.path"))).toBe(join(root, "f"));
  });

  test("fast-glob's candidates hold every dot file, directory and odd name", async () => {
    for (const name of ["p/.a", "p/b/c", "p/[x]", "q/(z)/f", "q/y/f"]) put(name);
    const source = await open();
    expect([...((await source.candidates?.("p", "*")) ?? [])].sort()).toEqual([
      "p/.a",
      "p/[x]",
      "p/b",
    ]);
    expect(await source.candidates?.("", "*/(z)/f")).toEqual(["q/(z)/f"]);
  });
});

describe("an ignore file", () => {
  test("what it excludes is not there, below a directory neither", async () => {
    for (const name of ["a", "node_modules/x/y", "src/a"]) put(name);
    const source = await open("node_modules\na\n");
    expect(walk(source.tree)).toEqual(["src", "src/a"]);
    expect(source.tree.lstat("node_modules/x/y")).toBeUndefined();
    expect(source.ignoredBy?.("node_modules/x/y")).toBe("node_modules");
    expect(source.ignoredBy?.("src/a")).toBeUndefined();
    expect(source.ignoredBy?.("src/missing")).toBeUndefined();
  });

  test("an excluded directory is there for what is taken back below it, and for that only", async () => {
    for (const name of [
      "stuff/huge/usr/bin/file1",
      "stuff/huge/usr/lib/x",
      "stuff/huge/y",
      "stuff/z",
    ])
      put(name);
    const { tree } = await open("stuff/huge/*\n!stuff/huge/usr/bin/*\n");
    expect(walk(tree)).toEqual([
      "stuff",
      "stuff/huge",
      "stuff/huge/usr",
      "stuff/huge/usr/bin",
      "stuff/huge/usr/bin/file1",
      "stuff/z",
    ]);
    expect(tree.lstat("stuff/huge/usr/lib")).toBeUndefined();
    expect(tree.lstat("stuff/huge/usr")?.type).toBe("directory");
  });

  test("an excluded directory with nothing taken back does not exist", async () => {
    put("folder1/file1");
    put("folder1/file2");
    const { tree } = await open("**\n!folder1/file\n");
    expect(tree.lstat("folder1")).toBeUndefined();
    expect(tree.list("")).toEqual([]);
  });

  test("the long example of Docker's own tests comes out", async () => {
    const names =
      "BUILD.md COPYRIGHT LICENSE README-secret.md README.md src/Makefile src/cmd/Makefile src/cmd/main.in src/etc/foo.conf src/etc/foo.conf.d/dropin.conf src/lib/Makefile src/lib/framework.in test1.txt test2.txt test3.txt";
    for (const name of names.split(" ")) put(name, "");
    const { tree } = await open(
      "# comment\n*\n!test*\n!src\n**/*.in\nsrc/etc\n*.md\n!README*.md\nREADME-secret.md\ntest1.txt\n",
    );
    expect(walk(tree)).toEqual(
      "README.md src src/Makefile src/cmd src/cmd/Makefile src/lib src/lib/Makefile test2.txt test3.txt".split(
        " ",
      ),
    );
  });

  test("its lines lose BOM, comments, blanks, CR and a leading slash", () => {
    expect(
      parseIgnoreFile(
        "\uFEFFa\r\n# no\n\n   b  \n#c\n\\#d\n/e/\n! /f\n./g//h\n!\n/\n  # not first\n",
      ),
    ).toEqual(["a", "b", "\\#d", "e", "!f", "g/h", "!", "/", "# not first"]);
  });

  test("white space is Go's: U+0085 is, U+FEFF within is not", () => {
    expect(parseIgnoreFile("\u0085a\u0085\n\u0085\n! \u0085b\n \uFEFFc\n\u00a0d")).toEqual([
      "a",
      "!b",
      "\uFEFFc",
      "d",
    ]);
  });

  test("a malformed pattern names the file", async () => {
    await expect(open("!\n")).rejects.toThrow(
      'tried to read the patterns of .dockerignore: illegal exclusion pattern: "!"',
    );
  });

  test("the Dockerfile's own file replaces the context's", async () => {
    put(".dockerignore", "common");
    put("docker/Dockerfile", "");
    put("docker/Dockerfile.dockerignore", "own");
    put("Other", "");
    const find = (name: string) => findIgnoreFile(join(root, name), root);
    expect((await find("docker/Dockerfile"))?.text).toBe("own");
    expect((await find("Other"))?.text).toBe("common");
    expect((await findIgnoreFile(undefined, root))?.text).toBe("common");
    expect(await findIgnoreFile(undefined, join(root, "docker"))).toBeUndefined();
  });

  test("an ignore file that is a link out of the context is refused", async () => {
    symlinkSync("/etc/passwd", join(root, ".dockerignore"));
    await expect(findIgnoreFile(undefined, root)).rejects.toThrow(/leaves the context/);
  });
});

test("a context of 50,000 files is walked with its ignore file", async () => {
  for (let directory = 0; directory < 500; directory++) {
    mkdirSync(join(root, `d${directory}`));
    for (let file = 0; file < 100; file++) writeFileSync(join(root, `d${directory}/f${file}`), "");
  }
  const { tree } = await open("**/*.log\n.git\nd1?/f9\n!d11/f9\n");
  let files = 0;
  for (const name of tree.list("")) {
    for (const file of tree.list(name)) {
      if (tree.lstat(`${name}/${file}`)?.type === "file") files++;
    }
  }
  expect(files).toBe(50_000 - 9);
  // Making the files is what takes long on a busy disk.
}, 300_000);
