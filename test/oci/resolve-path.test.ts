import { expect, test } from "vitest";
import { resolvePath } from "../../src/oci/resolve-path.js";
import type { FileEntry, Tree } from "../../src/oci/tree.js";

const BASE = { mode: 0o755, uid: 0, gid: 0, mtimeNs: 0n, size: 0, xattrs: new Map() };

/** `"d"` a directory, `"f"` a file, anything else a symlink's text. */
function tree(entries: Record<string, string>): Tree {
  const lstat = (path: string): FileEntry | undefined => {
    const kind = path === "" ? "d" : entries[path];
    if (kind === undefined) return undefined;
    if (kind === "d") return { ...BASE, type: "directory" };
    return kind === "f"
      ? { ...BASE, type: "file" }
      : { ...BASE, type: "symlink", linkTarget: kind };
  };
  return { lstat, list: () => [], read: () => undefined };
}

const TREE = tree({
  usr: "d",
  "usr/lib": "d",
  "usr/lib/x.so": "f",
  lib: "usr/lib",
  abs: "/usr/lib",
  up: "../../../../usr",
  "usr/back": "..",
  chain: "abs/x.so",
  dangling: "/nowhere/at/all",
  self: "self",
  ping: "pong",
  pong: "ping",
});

test.each([
  ["", ""],
  ["/", ""],
  ["usr/lib/x.so", "usr/lib/x.so"],
  ["//usr/./lib//x.so", "usr/lib/x.so"],
  ["lib/x.so", "usr/lib/x.so"],
  ["/abs/x.so", "usr/lib/x.so"],
  ["up/lib", "usr/lib"],
  ["../../usr", "usr"],
  ["usr/back/lib", "usr/lib"],
  ["lib/../x", "usr/x"],
  ["chain", "usr/lib/x.so"],
])("%s leads to %s", (path, expected) => {
  expect(resolvePath(TREE, path, "follow").path).toBe(expected);
});

test("a symlink in the last place is kept when asked, and followed when a slash comes behind it", () => {
  expect(resolvePath(TREE, "lib", "keep")).toMatchObject({
    path: "lib",
    entry: { type: "symlink" },
  });
  expect(resolvePath(TREE, "lib/", "keep")).toMatchObject({
    path: "usr/lib",
    entry: { type: "directory" },
  });
  expect(resolvePath(TREE, "lib/.", "keep").path).toBe("usr/lib");
});

test("what does not exist is taken as it is written", () => {
  expect(resolvePath(TREE, "abs/new/deeper", "follow")).toEqual({
    path: "usr/lib/new/deeper",
    entry: undefined,
  });
  expect(resolvePath(TREE, "new/../lib/x.so", "follow")).toMatchObject({
    path: "usr/lib/x.so",
    entry: { type: "file" },
  });
  expect(resolvePath(TREE, "dangling", "follow")).toEqual({
    path: "nowhere/at/all",
    entry: undefined,
  });
});

test.each(["self", "ping", "self/x"])("the loop %s is an error, not a hang", (path) => {
  expect(() => resolvePath(TREE, path, "follow")).toThrow(/more than 40 symbolic links/);
});

test("40 symlinks in a row are followed and 41 are not", () => {
  const chain = (length: number): Tree =>
    tree(
      Object.fromEntries([
        ...Array.from({ length }, (_, i) => [`l${i}`, `l${i + 1}`]),
        [`l${length}`, "f"],
      ]),
    );
  expect(resolvePath(chain(40), "l0", "follow").path).toBe("l40");
  expect(() => resolvePath(chain(41), "l0", "follow")).toThrow(/symbolic links/);
});

test("a file in the place of a directory is an error that names it", () => {
  expect(() => resolvePath(TREE, "usr/lib/x.so/y", "follow")).toThrow(
    '"usr/lib/x.so" is no directory',
  );
  expect(() => resolvePath(TREE, "usr/lib/x.so/..", "follow")).toThrow("is no directory");
});
