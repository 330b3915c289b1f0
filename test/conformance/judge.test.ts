import { createHash } from "node:crypto";
import { chmod, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { writeLayout } from "../support/bases.js";
import { tempDir } from "../support/tools.js";
import { writeTar, type TarInput } from "../support/tools-tar.js";
import type { Case } from "./cases.js";
import { readImage, type FlatImage } from "./image.js";
import { judgeImage } from "./judge.js";
import { writeTree } from "./tree.js";

const LAYERS: readonly (readonly TarInput[])[] = [
  [
    { name: "etc/", type: "dir", mode: 0o700 },
    { name: "etc/passwd", data: "root", mode: 0o640, uid: 1, gid: 2, mtime: 7 },
    { name: "etc/same", type: "hardlink", linkname: "etc/passwd" },
    { name: "link", type: "symlink", linkname: "etc" },
    { name: "gone", data: "x" },
    { name: "opaque/below", data: "x" },
  ],
  [
    { name: ".wh.gone", data: "" },
    { name: "opaque/.wh..wh..opq", data: "" },
    { name: "opaque/new", data: "y" },
  ],
];

async function imageOf(layers: readonly (readonly TarInput[])[]): Promise<FlatImage> {
  await using dir = await tempDir();
  await writeLayout(dir.path, { layers: layers.map(writeTar), env: ["A=1"], user: "me" });
  return await readImage(dir.path, undefined);
}

function wrongWith(image: FlatImage, wants: Partial<Case>): readonly string[] {
  const empty = { id: "x", feature: "x", source: "x", tier: "core", args: [], expectSuccess: true };
  return judgeImage({ ...empty, ...wants }, image);
}

test("the judge flattens layers: whiteouts hide what lies below, hard links are one file", async () => {
  const image = await imageOf(LAYERS);
  const exactTree = ["/etc", "/etc/passwd", "/etc/same", "/link", "/opaque", "/opaque/new"];
  const files = {
    "/etc": { type: "dir", mode: "700" },
    "/etc/passwd": { type: "file", content: "root", mode: "640", uid: 1, gid: 2, mtime: 7 },
    "/etc/same": { sameFileAs: "/etc/passwd" },
    "/link": { type: "symlink", linkname: "etc" },
    "/gone": { absent: true },
  };
  const config = { EnvAbsent: ["B"], Env: ["A=1"], User: "me", Entrypoint: null, Volumes: [] };
  expect(wrongWith(image, { exactTree, files, config, layers: 2 })).toEqual([]);
});

test.each<[string, Partial<Case>]>([
  ["a missing file", { files: { "/no": { type: "file" } } }],
  ["a file too many", { files: { "/link": { absent: true } } }],
  ["another path", { exactTree: ["/etc"] }],
  ["another type", { files: { "/link": { type: "file" } } }],
  ["another mode", { files: { "/etc": { mode: "755" } } }],
  ["another owner", { files: { "/etc/passwd": { uid: 0 } } }],
  ["another group", { files: { "/etc/passwd": { gid: 0 } } }],
  ["another time", { files: { "/etc/passwd": { mtime: 8 } } }],
  ["other content", { files: { "/etc/passwd": { content: "roo" } } }],
  ["content that does not match", { files: { "/etc/passwd": { contentRegex: "^oot" } } }],
  ["content that matches", { files: { "/etc/passwd": { notContentRegex: "oo" } } }],
  ["another link", { files: { "/link": { linkname: "/etc" } } }],
  ["a copy in place of a hard link", { files: { "/opaque/new": { sameFileAs: "/etc/passwd" } } }],
  ["a variable that is not there", { config: { Env: ["A=2"] } }],
  ["a variable too many", { config: { EnvAbsent: ["A"] } }],
  ["another environment", { config: { EnvExact: ["A=1"] } }],
  ["another user", { config: { User: "" } }],
  ["another command", { config: { Cmd: ["bash"] } }],
  ["a label that is not there", { config: { Labels: { a: "b" } } }],
  ["a port that is not exposed", { config: { ExposedPorts: ["80/tcp"] } }],
  ["a missing health check", { config: { Healthcheck: { Test: ["NONE"] } } }],
  ["another architecture", { image: { architecture: "vax" } }],
  ["another number of layers", { layers: 1 }],
  ["other platforms", { indexPlatforms: ["linux/vax"] }],
  ["another history text", { history: [{ re: "^RUN" }] }],
  ["an empty step that has a layer", { history: [{ empty: true }] }],
  ["another step's time", { history: [{ created: "1970-01-01T00:00:00Z" }] }],
  ["a history text that must not be", { historyNotRegex: "layer 1" }],
])("the judge sees %s", async (_, wants) => {
  expect(wrongWith(await imageOf(LAYERS), wants)).toHaveLength(1);
});

test("the judge refuses a blob that is not what its digest says", async () => {
  await using dir = await tempDir();
  const layer = writeTar([{ name: "f", data: "x" }]);
  await writeLayout(dir.path, { layers: [layer] });
  const index = await readImage(dir.path, undefined);
  const diffId = index.config.rootfs.diff_ids[0];
  expect(diffId).toBe(`sha256:${createHash("sha256").update(layer).digest("hex")}`);
  const blobs = join(dir.path, "blobs/sha256");
  for (const name of await readdir(blobs)) await writeFile(join(blobs, name), "{}");
  await expect(readImage(dir.path, undefined)).rejects.toThrow("bad blob");
});

test("contexts are written with the modes, times and links that the case gives", async () => {
  await using dir = await tempDir();
  const root = join(dir.path, "context");
  await writeTree(
    root,
    {
      shut: { dir: true, mode: "500", mtime: 5 },
      "shut/file": { content: "x", mode: "4711", mtime: 9 },
      "shut/same": { hardlink: "shut/file" },
      plain: "text",
      "made/on/the/way": { base64: "AAE=" },
    },
    undefined,
  );
  const facts = async (name: string): Promise<object> => {
    const { mode, mtimeMs, nlink } = await stat(join(root, name));
    return { mode: (mode & 0o7777).toString(8), time: mtimeMs / 1000, links: nlink };
  };
  expect(await facts("shut")).toMatchObject({ mode: "500", time: 5 });
  expect(await facts("shut/file")).toEqual({ mode: "4711", time: 9, links: 2 });
  expect(await facts("plain")).toMatchObject({ mode: "644" });
  expect(await facts("made/on")).toMatchObject({ mode: "755" });
  expect((await stat(join(root, "made/on/the/way"))).size).toBe(2);
  await chmod(join(root, "shut"), 0o700); // so that it can be removed
});
