import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { looksLikeTar, unpackTar } from "../../src/context/tar.js";
import { writeTar, type TarInput } from "../support/tools-tar.js";

let top: string;
let directory: string;
const { signal } = new AbortController();

beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "tsbuild-tar-"));
  directory = join(top, "context");
  mkdirSync(directory, { mode: 0o700 });
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const unpack = (entries: readonly TarInput[] | Uint8Array, size = 1000): Promise<number> => {
  const bytes = entries instanceof Uint8Array ? entries : writeTar(entries);
  return unpackTar(inChunks(bytes, size), { directory, what: "the context test.tar", signal });
};
const mode = (path: string): string => (lstatSync(join(directory, path)).mode & 0o7777).toString(8);
const text = (path: string): string => readFileSync(join(directory, path), "utf8");
/** Everything but the context's own directory: what a write that left it would have made. */
const outside = (): readonly string[] => readdirSync(top).filter((name) => name !== "context");

describe("a tar becomes a directory", () => {
  test("with modes, times, links and the directories that it does not name", async () => {
    const skipped = await unpack([
      { name: "./", type: "dir", mode: 0o755, mtime: 5 },
      { name: "./a", mode: 0o4750, mtime: 1_700_000_000.5, data: "content" },
      { name: "locked/", type: "dir", mode: 0o500, mtime: 7 },
      { name: "locked/in", data: "x" },
      { name: "deep/er/file", data: "y" },
      { name: "soft", type: "symlink", linkname: "../../etc/passwd", mtime: 9 },
      { name: "hard", type: "hardlink", linkname: "./a" },
      { name: `long/${"n".repeat(120)}/ü`, data: "z" },
    ]);
    expect(skipped).toBe(0);
    expect([text("a"), mode("a")]).toEqual(["content", "4750"]);
    expect(lstatSync(join(directory, "a")).mtimeMs).toBe(1_700_000_000_500);
    expect(lstatSync(join(directory, "a")).ino).toBe(lstatSync(join(directory, "hard")).ino);
    expect([mode("locked"), mode("deep"), mode("deep/er")]).toEqual(["500", "755", "755"]);
    expect(lstatSync(join(directory, "locked")).mtimeMs).toBe(7_000);
    expect(lstatSync(directory).mtimeMs).toBe(5_000);
    expect(readlinkSync(join(directory, "soft"))).toBe("../../etc/passwd");
    expect(lstatSync(join(directory, "soft")).mtimeMs).toBe(9_000);
    expect(text(`long/${"n".repeat(120)}/ü`)).toBe("z");
  });

  test("whatever pieces its bytes come in", async () => {
    const data = Buffer.alloc(70_000, "0123456789");
    await unpack([{ name: "a", data }, { name: "b" }, { name: "c", data: "c" }], 7);
    expect(readFileSync(join(directory, "a")).equals(data)).toBe(true);
    expect([text("b"), text("c")]).toEqual(["", "c"]);
  });

  test("and devices and fifos are passed over", async () => {
    const skipped = await unpack([
      { name: "null", type: "char", major: 1, minor: 3 },
      { name: "disk", type: "block", major: 8 },
      { name: "pipe", type: "fifo" },
      { name: "kept" },
    ]);
    expect([skipped, readdirSync(directory)]).toEqual([3, ["kept"]]);
  });

  test("where the last of several entries with one name stands", async () => {
    await unpack([
      { name: "a", data: "first" },
      { name: "twin", type: "hardlink", linkname: "a" },
      { name: "a", data: "second" },
      { name: "d/x" },
      { name: "d", data: "no directory any more" },
      { name: "e" },
      { name: "e/", type: "dir", mode: 0o711 },
      { name: "e/y", data: "y" },
    ]);
    expect([text("a"), text("twin")]).toEqual(["second", "first"]);
    expect([text("d"), mode("e"), text("e/y")]).toEqual(["no directory any more", "711", "y"]);
  });
});

describe("nothing is written outside of the directory", () => {
  test.each<[string, readonly TarInput[], RegExp]>([
    ["a name that climbs", [{ name: "../evil", data: "x" }], /"\.\.\/evil" climbs above/],
    ["a name that climbs later", [{ name: "a/../../evil", data: "x" }], /climbs above/],
    ["a directory that climbs", [{ name: "../evil/", type: "dir" }], /climbs above/],
    [
      "a name through a link",
      [
        { name: "out", type: "symlink", linkname: ".." },
        { name: "out/evil", data: "x" },
      ],
      /leads through "out", which is a link/,
    ],
    [
      "a name through links through links",
      [
        { name: "d/", type: "dir" },
        { name: "d/one", type: "symlink", linkname: "." },
        { name: "d/two", type: "symlink", linkname: "one/../.." },
        { name: "d/one/two/evil", data: "x" },
      ],
      /leads through "d\/one", which is a link/,
    ],
    [
      "a directory below a link",
      [
        { name: "out", type: "symlink", linkname: "/tmp" },
        { name: "out/evil/", type: "dir" },
      ],
      /which is a link/,
    ],
    [
      "a hard link to what is outside",
      [{ name: "h", type: "hardlink", linkname: "../../etc/passwd" }],
      /climbs above/,
    ],
    [
      "a hard link through a link",
      [
        { name: "out", type: "symlink", linkname: "/etc" },
        { name: "h", type: "hardlink", linkname: "out/passwd" },
      ],
      /leads through "out"/,
    ],
    ["a hard link to nothing", [{ name: "h", type: "hardlink", linkname: "x" }], /not a file/],
    ["a name through a file", [{ name: "f" }, { name: "f/x" }], /"f", which is not a directory/],
    ["a link to nothing", [{ name: "l", type: "symlink" }], /link to nothing, at "l"/],
    ["no name", [{ name: "." }], /it has no name/],
  ])("%s is refused", async (_, entries, message) => {
    const unpacked = unpack(entries);
    await expect(unpacked).rejects.toMatchObject({ code: "CONTEXT_UNREADABLE" });
    await expect(unpacked).rejects.toThrow(message);
    expect(outside()).toEqual([]);
  });

  test("an absolute name begins at the directory, a link that stands in the way is replaced", async () => {
    await unpack([
      { name: "/etc/evil", data: "inside" },
      { name: "link", type: "symlink", linkname: "../evil" },
      { name: "link", data: "replaced" },
      { name: "way", type: "symlink", linkname: ".." },
      { name: "way/", type: "dir" },
      { name: "way/evil", data: "inside" },
    ]);
    expect([text("etc/evil"), text("link"), text("way/evil")]).toEqual([
      "inside",
      "replaced",
      "inside",
    ]);
    expect(outside()).toEqual([]);
  });
});

describe("a damaged tar is one clear error", () => {
  test.each([
    ["in a file", 512 + 600],
    ["in a header", 512 + 1024 + 100],
    ["in a file's padding", 512 + 1000],
  ])("cut short %s", async (_, length) => {
    const bytes = writeTar([{ name: "a", data: Buffer.alloc(1000) }, { name: "b" }]);
    await expect(unpack(bytes.subarray(0, length))).rejects.toMatchObject({
      code: "CONTEXT_UNREADABLE",
      message: expect.stringMatching(
        /^tried to unpack the context test\.tar: .*cut short/,
      ) as string,
    });
  });

  test("with a broken header", async () => {
    const bytes = Buffer.from(writeTar([{ name: "a" }, { name: "b" }]));
    bytes[512 + 3] = 0xff;
    await expect(unpack(bytes)).rejects.toThrow(/Invalid tar header.*at "a"/);
  });

  test("with a sparse file, whose holes would be lost", async () => {
    const bytes = Buffer.from(writeTar([{ name: "s" }]));
    bytes[156] = "S".charCodeAt(0);
    bytes.write("        ", 148, "latin1");
    const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    await expect(unpack(bytes)).rejects.toThrow(/type is unknown.*sparse.*at "s"/);
  });

  test("what the source throws is told unchanged", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield writeTar([{ name: "a", data: Buffer.alloc(5000) }]).subarray(0, 2000);
      throw new Error("the line broke");
    }
    const unpacked = unpackTar(broken(), { directory, what: "the context x", signal });
    await expect(unpacked).rejects.toThrow('tried to unpack the context x: the line broke, at "a"');
  });

  test("an abort stops it, also while no byte comes", async () => {
    const stop = new AbortController();
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield writeTar([{ name: "a", data: Buffer.alloc(5000) }]).subarray(0, 2000);
      setTimeout(() => stop.abort(new Error("stopped")), 20);
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
    const unpacked = unpackTar(endless(), { directory, what: "x", signal: stop.signal });
    await expect(unpacked).rejects.toThrow("stopped");
  });
});

test("a tar is known by the sum of its first header", () => {
  expect(looksLikeTar(writeTar([{ name: "a" }]))).toBe(true);
  expect(looksLikeTar(Buffer.alloc(1024))).toBe(true);
  expect(looksLikeTar(Buffer.from("FROM scratch\n".repeat(100)))).toBe(false);
  expect(looksLikeTar(Buffer.alloc(100))).toBe(false);
});
