import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeName } from "../../src/layer/index.js";
import type { FileEntry, Tree } from "../../src/oci/tree.js";
import { writeRootfs } from "../../src/store/index.js";

const { signal } = new AbortController();
const uid = process.geteuid?.() ?? 0;
const gid = process.getegid?.() ?? 0;
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-rootfs-"));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

type Some = Partial<FileEntry> & Pick<FileEntry, "type">;

function entryOf(some: Some): FileEntry {
  return { mode: 0o755, uid, gid, mtimeNs: 1_000_000_000n, size: 0, xattrs: new Map(), ...some };
}

function file(content: string, more: Partial<FileEntry> = {}): FileEntry {
  const bytes = Buffer.from(content);
  return entryOf({
    type: "file",
    mode: 0o644,
    size: bytes.length,
    open: () => {
      let at = 0;
      return {
        read(into) {
          const count = bytes.copy(into, 0, at);
          at += count;
          return count;
        },
        [Symbol.dispose]: () => undefined,
      };
    },
    ...more,
  });
}

const directory = (mode = 0o755): FileEntry => entryOf({ type: "directory", mode });
const symlink = (linkTarget: string): FileEntry => entryOf({ type: "symlink", linkTarget });

/** A tree of these paths; parents have to be named. */
function treeOf(entries: Readonly<Record<string, FileEntry>>): Tree {
  const parent = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
  return {
    lstat: (path) => (path === "" ? directory() : entries[path]),
    list: (path) =>
      Object.keys(entries)
        .filter((one) => one !== path && parent(one) === path)
        .map((one) => one.slice(path === "" ? 0 : path.length + 1)),
    read: () => undefined,
  };
}

function write(
  entries: Readonly<Record<string, FileEntry>>,
  to = join(root, "out"),
): Promise<readonly string[]> {
  return writeRootfs(to, treeOf(entries), { encodeName, signal });
}

test("files, directories, links, modes and times are as in the image", async () => {
  const lost = await write({
    etc: directory(0o555),
    "etc/passwd": file("root\n", { mode: 0o640, mtimeNs: 1_500_000_000_500_000_000n }),
    "etc/link": symlink("../../outside"),
    two: file("same", { linkGroup: "0:1" }),
    three: file("same", { linkGroup: "0:1" }),
    [`odd \udc80\n`]: file("x"),
  });
  expect(lost).toEqual([]);
  const at = (path: string): string => join(root, "out", path);
  expect(lstatSync(at("etc")).mode & 0o7777).toBe(0o555);
  expect(lstatSync(at("etc")).mtimeMs).toBe(1000);
  expect(readFileSync(at("etc/passwd"), "utf8")).toBe("root\n");
  expect(lstatSync(at("etc/passwd")).mode & 0o7777).toBe(0o640);
  expect(lstatSync(at("etc/passwd")).mtimeMs).toBe(1_500_000_000_500);
  expect(readlinkSync(at("etc/link"))).toBe("../../outside");
  expect(lstatSync(at("two")).ino).toBe(lstatSync(at("three")).ino);
  const names = readdirSync(at("."), { encoding: "buffer" });
  expect(names.some((name) => name.equals(Buffer.from("odd \x80\n", "latin1")))).toBe(true);
  chmodSync(at("etc"), 0o755);
});

test("files in the way are replaced, all others stay, and a second time gives the same", async () => {
  const out = join(root, "out");
  mkdirSync(join(out, "etc"), { recursive: true });
  writeFileSync(join(out, "etc/mine"), "mine");
  writeFileSync(join(out, "etc/passwd"), "old");
  writeFileSync(join(out, "was-a-file"), "old");
  mkdirSync(join(out, "was-empty"));
  const entries = {
    etc: directory(),
    "etc/passwd": file("new"),
    "was-a-file": directory(),
    "was-empty": file("new"),
  };
  for (let time = 0; time < 2; time++) {
    await write(entries);
    expect(readFileSync(join(out, "etc/mine"), "utf8")).toBe("mine");
    expect(readFileSync(join(out, "etc/passwd"), "utf8")).toBe("new");
    expect(lstatSync(join(out, "was-a-file")).isDirectory()).toBe(true);
    expect(readFileSync(join(out, "was-empty"), "utf8")).toBe("new");
  }
});

test("a directory with files in it never gives way to a file", async () => {
  mkdirSync(join(root, "out/full"), { recursive: true });
  writeFileSync(join(root, "out/full/mine"), "mine");
  await expect(write({ full: file("x") })).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: "tried to write full: a directory with files stands there",
  });
  expect(readFileSync(join(root, "out/full/mine"), "utf8")).toBe("mine");
});

describe("nothing outside the directory is written", () => {
  test("through a symlink that was there before: it is replaced", async () => {
    mkdirSync(join(root, "outside"));
    writeFileSync(join(root, "outside/passwd"), "theirs");
    mkdirSync(join(root, "out"));
    symlinkSync("../outside", join(root, "out/etc"));
    symlinkSync("../outside/passwd", join(root, "out/shadow"));
    await write({ etc: directory(), "etc/passwd": file("mine"), shadow: file("mine") });
    expect(readFileSync(join(root, "outside/passwd"), "utf8")).toBe("theirs");
    expect(readdirSync(join(root, "outside"))).toEqual(["passwd"]);
    expect(readFileSync(join(root, "out/etc/passwd"), "utf8")).toBe("mine");
    expect(readFileSync(join(root, "out/shadow"), "utf8")).toBe("mine");
  });

  test("through a symlink in the place of a platform's directory", async () => {
    mkdirSync(join(root, "outside"));
    mkdirSync(join(root, "out"));
    symlinkSync("../outside", join(root, "out/linux_amd64"));
    const options = { encodeName, signal, below: "linux_amd64" };
    await writeRootfs(join(root, "out"), treeOf({ a: file("x") }), options);
    expect(readdirSync(join(root, "outside"))).toEqual([]);
    expect(readFileSync(join(root, "out/linux_amd64/a"), "utf8")).toBe("x");
  });

  test.each(["..", ".", "a/../../b"])("by the name %j: it is refused", async (name) => {
    const tree: Tree = {
      lstat: () => file("x"),
      list: (path) => (path === "" ? [name] : []),
      read: () => undefined,
    };
    const writing = writeRootfs(join(root, "out"), tree, { encodeName, signal });
    await expect(writing).rejects.toMatchObject({ code: "INTERNAL" });
    expect(existsSync(join(root, "b"))).toBe(false);
  });
});

test.skipIf(uid !== 0)(
  "a directory that may not be written is an error with its path (needs root to set up)",
  async () => {
    mkdirSync(join(root, "out/etc"), { recursive: true });
    chmodSync(root, 0o755);
    process.seteuid?.(65534);
    try {
      await expect(write({ etc: directory(), "etc/f": file("x") })).rejects.toMatchObject({
        code: "STORE_FAILED",
        message: `tried to write the files at ${join(root, "out/etc/f")}: EACCES: permission denied`,
      });
    } finally {
      process.seteuid?.(0);
    }
  },
);

test("the directory itself may be reached through a symlink", async () => {
  mkdirSync(join(root, "real"));
  symlinkSync("real", join(root, "out"));
  await write({ a: file("x") });
  expect(readdirSync(join(root, "real"))).toEqual(["a"]);
});

test("what was not kept is said once, with the first file", async () => {
  const lost = await write({
    pipe: entryOf({ type: "fifo" }),
    zero: entryOf({ type: "char", devMajor: 1, devMinor: 5 }),
    ping: file("x", { xattrs: new Map([["security.capability", Buffer.from("x")]]) }),
  });
  expect(lost).toEqual([
    'devices, pipes and sockets were not made (2 entries, the first is "pipe")',
    'extended attributes, such as file capabilities, were not kept (1 entry "ping")',
  ]);
  expect(readdirSync(join(root, "out"))).toEqual(["ping"]);
});

test("files are the caller's own, whoever owned them in the image", async () => {
  const lost = await write({
    data: entryOf({ type: "directory", uid: uid + 1, gid: gid + 1 }),
    "data/f": file("x", { uid: uid + 1, gid: gid + 1 }),
    link: entryOf({ type: "symlink", linkTarget: "data", uid: uid + 1 }),
  });
  expect(lost).toEqual([]);
  for (const path of ["data", "data/f", "link"]) {
    const found = lstatSync(join(root, "out", path));
    expect([path, found.uid, found.gid]).toEqual([path, uid, gid]);
  }
});

test("a program that ran as its owner does not run as another", async () => {
  const entries = {
    own: file("x", { mode: 0o6755 }),
    su: file("x", { uid: uid + 1, mode: 0o4755 }),
    group: file("x", { gid: gid + 1, mode: 0o2755 }),
    "not-its-group": file("x", { gid: gid + 1, mode: 0o4755 }),
  };
  for (let time = 0; time < 2; time++) {
    expect(await write(entries)).toEqual([
      'set-user-id and set-group-id bits were left out of files that another owner had (2 entries, the first is "su")',
    ]);
  }
  const modeOf = (name: string): number => lstatSync(join(root, "out", name)).mode & 0o7777;
  expect(Object.keys(entries).map(modeOf)).toEqual([0o6755, 0o755, 0o755, 0o4755]);
});

test.skipIf(uid !== 0)(
  "a second time works below directories that are closed (as nobody: needs root to set up)",
  async () => {
    chmodSync(root, 0o777);
    const entries = { closed: directory(0o555), "closed/f": file("x", { uid: 0 }) };
    process.setegid?.(65534);
    process.seteuid?.(65534);
    try {
      for (let time = 0; time < 2; time++) expect(await write(entries)).toEqual([]);
    } finally {
      process.seteuid?.(0);
      process.setegid?.(0);
    }
    const { mode, uid: owner } = lstatSync(join(root, "out/closed"));
    expect([mode & 0o7777, owner]).toEqual([0o555, 65534]);
  },
);

test("an abort leaves no half of a file", async () => {
  const stop = new AbortController();
  const big = file("x".repeat(2_500_000), {});
  const entry: FileEntry = {
    ...big,
    open: () => {
      stop.abort(new Error("stopped"));
      const reader = big.open?.();
      if (reader === undefined) throw new Error("no reader");
      return reader;
    },
  };
  const tree = treeOf({ first: file("1"), second: entry });
  await expect(
    writeRootfs(join(root, "out"), tree, { encodeName, signal: stop.signal }),
  ).rejects.toThrow("stopped");
  expect(readdirSync(join(root, "out"))).toEqual(["first"]);
});
