import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { imageOfFiles } from "../../src/solver/file-images.js";
import type { SolveInput } from "../../src/solver/types.js";
import { openStore } from "../../src/store/index.js";
import type { Store } from "../../src/store/types.js";
import { readTar } from "../support/tools-tar.js";
import { tempDir, type TempDir } from "../support/tools.js";
import { sourceOf } from "./copy/support.js";
import { optionsOf } from "./support-tools.js";

const FILES = {
  "d/sub/f": "f",
  "d/g": "g",
  "odd[1]*": "odd",
  other: "o",
  lnk: { link: "d" },
  "in/lnk": { link: "../d/g" },
};

describe("files as an image that can be mounted", () => {
  let dir: TempDir;
  let store: Store;
  const { signal } = new AbortController();

  beforeAll(async () => {
    dir = await tempDir();
    store = await openStore(dir.path, signal);
  });
  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  const paths = async (path: string): Promise<readonly string[]> => {
    const input = { options: optionsOf(), store, signal } as unknown as SolveInput;
    const { layers } = await imageOfFiles(sourceOf(FILES), path, input);
    const [layer] = layers;
    if (layer === undefined || layers.length > 1) throw new Error("not one layer");
    const entries = readTar(await readFile(store.blobPath(layer.descriptor.digest)));
    return entries
      .filter(({ type }) => type !== "dir")
      .map(({ name }) => name)
      .sort((a, b) => (a < b ? -1 : 1));
  };

  test("hold everything for the root, and only what is at a path, at its own place", async () => {
    expect(await paths("")).toEqual(["d/g", "d/sub/f", "in/lnk", "lnk", "odd[1]*", "other"]);
    expect(await paths("d/sub")).toEqual(["d/sub/f"]);
    expect(await paths("d/g")).toEqual(["d/g"]);
    expect(await paths("odd[1]*")).toEqual(["odd[1]*"]);
  });

  test("hold everything where the path goes through a link, since it may lead anywhere", async () => {
    for (const path of ["lnk", "lnk/g", "in/lnk"]) {
      expect(await paths(path), path).toContain("other");
    }
  });

  test("say what is missing", async () => {
    await expect(paths("d/none")).rejects.toThrow('"/d/none": not found');
  });
});
