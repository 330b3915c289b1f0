import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  type ImageResult,
  indexLayer,
  isWholeImage,
  openIndexFile,
  writeImage,
} from "../../src/layer/index.js";
import { chunked, diffIdOf, never, rawTar, temporaryDirectory } from "../support/layer-changes.js";

const at = temporaryDirectory();
let names = 0;
const fresh = (): string => join(at, String((names += 1)));

const TAR = rawTar([
  { path: "d", type: "directory", mode: 0o755 },
  { path: "d/file", content: "content" },
  { path: "d/.wh.gone" },
]);

async function imageOf(
  tar: Buffer,
  tarSize: number = tar.length,
): Promise<{ readonly path: string; readonly result: ImageResult }> {
  const [index, path] = [fresh(), fresh()];
  const diffId = diffIdOf(tar);
  await indexLayer(chunked(tar), { compression: "none", diffId, index, signal: never });
  const fd = openSync(path, "wx+");
  try {
    const result = await writeImage(openIndexFile(index), fd, {
      tarSize,
      name: diffId,
      xattrName: (name) => name,
      opaque: ["user.overlay.opaque", Buffer.from("y")],
      impliedRoot: ["user.overlay.implied", Buffer.from("y")],
      implied: new Map(),
      signal: never,
    });
    return { path, result };
  } finally {
    closeSync(fd);
  }
}

function isWhole(path: string, tarSize: number): boolean {
  const fd = openSync(path, "r");
  try {
    return isWholeImage(fd, tarSize);
  } finally {
    closeSync(fd);
  }
}

test("an image is the same each time, and whole", async () => {
  const [one, two] = [await imageOf(TAR), await imageOf(TAR)];
  expect(one.result).toEqual({ kind: "written", skipped: [] });
  expect(readFileSync(one.path).equals(readFileSync(two.path))).toBe(true);
  expect(isWhole(one.path, TAR.length)).toBe(true);
});

test("an image is not whole with another byte, another end or another tar", async () => {
  const { path } = await imageOf(TAR);
  const bytes = readFileSync(path);
  expect(isWhole(path, TAR.length - 512)).toBe(false);
  for (const changed of [1024, 1024 + 64, 1152 + 64, 1600, bytes.length - 1]) {
    const copy = Buffer.from(bytes);
    copy[changed] = (copy[changed] ?? 0) ^ 1;
    writeFileSync(path, copy);
    expect(isWhole(path, TAR.length), `byte ${changed}`).toBe(false);
  }
  for (const length of [0, 1100, bytes.length - 512]) {
    writeFileSync(path, bytes.subarray(0, length));
    expect(isWhole(path, TAR.length), `${length} bytes`).toBe(false);
  }
});

test("a file whose bytes would lie behind the tar's end is refused", async () => {
  const { result } = await imageOf(TAR, 1024);
  expect(result).toEqual({ kind: "refused", because: 'the bytes of "d/file" are not in it' });
});

test("a hard link to another layer's file is refused", async () => {
  const { result } = await imageOf(rawTar([{ path: "l", type: "hardlink", linkTarget: "below" }]));
  expect(result).toMatchObject({ kind: "refused", because: expect.stringMatching("hard link") });
});

test("what is left out is said, with its path", async () => {
  const { result } = await imageOf(
    rawTar([
      { path: "a/zero", type: "char", devMajor: 0, devMinor: 0 },
      { path: "a/b", content: "", xattrs: new Map([["strange.name", Buffer.from("v")]]) },
    ]),
  );
  expect(result).toEqual({
    kind: "written",
    skipped: [
      "/a/b: attribute strange.name is not allowed here",
      "/a/zero: a character device 0/0 means a deleted file to the kernel",
    ],
  });
});
