import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDirectory } from "../../../src/context/index.js";
import type { FileSource } from "../../../src/context/types.js";
import {
  expandSource,
  memoryEntry,
  planCopy,
  selectFiles,
  type CopyItem,
} from "../../../src/solver/copy/index.js";
import { contentOf, copied, MemoryTree, signal, sourceOf, written } from "./support.js";

const paths = (items: readonly CopyItem[], exclude: readonly string[] = []) =>
  [...selectFiles(items, exclude)].map(({ item, path, from }) => [item, path, from?.path]);

describe("what a cache key is made of", () => {
  const source = sourceOf({
    "d/a": "1",
    "d/sub/b": "2",
    "d/sub/c.log": "3",
    link: { link: "d/a" },
  });

  test("is every file, link and directory that is read, with its place in the source", () => {
    const entry = memoryEntry(Buffer.from("x"), { mtimeNs: 0n });
    const items: readonly CopyItem[] = [
      { kind: "path", source, path: "d" },
      { kind: "path", source, path: "link" },
      { kind: "file", name: "here", entry },
      { kind: "parents", source, base: "", pattern: "d/sub/b", required: true },
    ];
    expect(paths(items, ["**/*.log"])).toEqual([
      [0, "a", "d/a"],
      [0, "sub", "d/sub"],
      [0, "sub/b", "d/sub/b"],
      [1, "link", "d/a"],
      [2, "here", undefined],
      [3, "d", "d"],
      [3, "d/sub", "d/sub"],
      [3, "d/sub/b", "d/sub/b"],
    ]);
  });

  test("names what is missing", () => {
    expect(() => paths([{ kind: "path", source, path: "gone" }])).toThrow('"/gone": not found');
  });
});

describe("a real directory", () => {
  let root: string;
  let context: FileSource;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "tsbuild-copy-"));
    for (const name of [
      ".hidden",
      "b.go",
      "a.go",
      "sub/x/f",
      "sub/y/f",
      "sub/[z]/f",
      "no.go/f",
      "old.bak",
    ]) {
      mkdirSync(join(root, name, ".."), { recursive: true });
      writeFileSync(join(root, name), name);
    }
    symlinkSync("sub", join(root, "link"));
    const ignoreFile = { path: ".dockerignore", text: "*.bak\n" };
    context = await openDirectory(root, { name: "context", ignoreFile, signal });
  });
  afterAll(async () => {
    await context[Symbol.asyncDispose]();
    rmSync(root, { recursive: true, force: true });
  });

  const expand = async (word: string) =>
    (await expandSource(context, word, { parents: false, signal })).map((item) =>
      item.kind === "path" ? item.path : item.kind,
    );

  test.each<[word: string, matches: string[]]>([
    ["*.go", ["a.go", "b.go", "no.go"]],
    ["*", [".hidden", "a.go", "b.go", "link", "no.go", "sub"]],
    ["sub/*/f", ["sub/[z]/f", "sub/x/f", "sub/y/f"]],
    ["sub/[xy]/f", ["sub/x/f", "sub/y/f"]],
    ["sub/[[]z]/f", ["sub/[z]/f"]],
    ["sub/[^x]*/f", ["sub/[z]/f", "sub/y/f"]],
    ["link/?/f", ["sub/x/f", "sub/y/f"]],
    ["*/x/f", ["sub/x/f"]],
    ["*.bak", []],
    ["old.bak", ["old.bak"]],
  ])("%s is expanded to %j", async (word, matches) => {
    expect(await expand(word)).toEqual(matches);
  });

  test("the walk of a tree finds what fast-glob finds", async () => {
    const { tree, name } = context;
    const walked: FileSource = { ...sourceOf({}), tree, name };
    for (const word of ["*", "*.go", "sub/*/f", "sub/[[]z]/f", "link/?/f", "*/x/f", "s?b"]) {
      const items = await expandSource(walked, word, { parents: false, signal });
      expect(items.map((item) => (item.kind === "path" ? item.path : ""))).toEqual(
        await expand(word),
      );
    }
  });

  test("is copied with content, and an ignored source is an error with its pattern", async () => {
    const tree = await copied(context, "*.go link/x /d/");
    expect(tree.show()).toEqual({ "d/": "", "d/a.go": "a.go", "d/b.go": "b.go", "d/f": "sub/x/f" });
    expect(contentOf(tree.lstat("d/f"))).toBe("sub/x/f");
    await expect(copied(context, "old.bak /d/")).rejects.toMatchObject({
      hint: 'the ignore file excludes it with the pattern "*.bak"',
    });
  });

  test("identities tell an unchanged file from a changed one", () => {
    const before = context.identity?.("a.go");
    expect(before).toMatch(/^\d+:\d+:4:\d+:\d+$/);
    expect(context.identity?.("a.go")).toBe(before);
    expect(context.identity?.("sub")).toBeUndefined();
    expect(context.identity?.("old.bak")).toBeUndefined();
    writeFileSync(join(root, "a.go"), "longer than before");
    context.tree.lstat("b.go");
    expect(context.identity?.("a.go")).not.toBe(before);
  });
});

test("50,000 files of several overlapping sources are planned without a list of them", () => {
  const files: Record<string, string> = {};
  const many: FileSource = {
    ...sourceOf(files),
    tree: {
      lstat: (path) => {
        const depth = path === "" ? 0 : path.split("/").length;
        if (depth > 2) return undefined;
        const like = new MemoryTree().lstat("");
        return depth < 2 ? like : memoryEntry(new Uint8Array(0), { mtimeNs: 0n });
      },
      list: (path) =>
        Array.from({ length: path === "" ? 250 : 200 }, (_, i) => `n${String(i).padStart(3, "0")}`),
      read: () => undefined,
    },
  };
  const items = [0, 1].map(() => ({ kind: "path", source: many, path: "" }) as const);
  const changes = planCopy({
    items,
    target: "/t/",
    workdir: "/",
    root: new MemoryTree(),
    createdNs: 0n,
  });
  let count = 0;
  let last = "";
  for (const change of changes) {
    expect(change.path > last).toBe(true);
    last = change.path;
    count++;
  }
  expect(count).toBe(1 + 250 + 50_000);
  expect(
    written(
      planCopy({ items: [], target: "/t/", workdir: "/", root: new MemoryTree(), createdNs: 0n }),
    ),
  ).toEqual([]);
});
