import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openDirectory } from "../../src/context/index.js";
import { HASHING_IN_PLACE } from "../../src/internal/hashing.js";
import { settledBefore } from "../../src/internal/settled.js";
import type { StatMemory } from "../../src/oci/content-digest.js";
import { digestOf, hexOf } from "../../src/oci/digest.js";
import type { Tree } from "../../src/oci/tree.js";
import { hashedSource, unchangedOnly } from "../../src/solver/cache/hashed-source.js";
import { tempDir, type TempDir } from "../support/tools.js";

let dir: TempDir;
beforeEach(async () => {
  dir = await tempDir();
});
afterEach(() => dir[Symbol.asyncDispose]());

/** As packing does: looks at everything, and opens what is not empty. */
function pack(tree: Tree, path = ""): void {
  for (const name of tree.list(path)) {
    const child = path === "" ? name : `${path}/${name}`;
    const entry = tree.lstat(child);
    if (entry?.type === "directory") pack(tree, child);
    if (entry?.type !== "file" || entry.size === 0) continue;
    const reader = entry.open?.();
    const into = new Uint8Array(4);
    while ((reader?.read(into) ?? 0) > 0);
    reader?.[Symbol.dispose]();
  }
}

test("the digest of every file is known once it is packed, of an empty one and however young", async () => {
  mkdirSync(join(dir.path, "sub"));
  const texts = { "one.txt": "twelve bytes", "sub/two.txt": "2", "sub/__init__.py": "" };
  const { signal } = new AbortController();
  const known = new Map<string, string>();
  const memory: StatMemory = {
    get: (state) => known.get(state),
    set: (state, digest) => void known.set(state, digest),
  };
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(dir.path, name), text);
  const context = await openDirectory(dir.path, { name: "context", signal });
  const source = hashedSource(context, memory, HASHING_IN_PLACE);
  pack(source.tree);
  // To it, everything has changed a moment ago.
  const files = unchangedOnly(memory, settledBefore(0));
  const digests = Object.keys(texts).map((name) => files.get(source.identity?.(name) ?? ""));
  expect(digests).toEqual(Object.values(texts).map((text) => hexOf(digestOf(text))));
});
