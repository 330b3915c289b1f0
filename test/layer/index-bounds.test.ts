/** Indexes that are larger than what may stay in memory: the same answers, from the disk. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ByteLog } from "../../src/internal/byte-log.js";
import { PagedBytes } from "../../src/internal/paged-bytes.js";
import { SpillFile } from "../../src/internal/spill-file.js";
import { IndexBuilder } from "../../src/layer/index-builder.js";
import { RecordTable } from "../../src/layer/index-records.js";
import { mergedTree, openIndex, openIndexFile, openIndexPages } from "../../src/layer/index.js";
import { PathTree } from "../../src/layer/path-tree.js";
import { sortByName } from "../../src/layer/sort-names.js";
import { Uint32List } from "../../src/layer/uint32-list.js";
import { closeSync, openSync } from "node:fs";
import { diffIdFromHex } from "../../src/oci/digest.js";

let at: string;
let names = 0;
beforeAll(() => {
  at = mkdtempSync(join(tmpdir(), "tsbuild-bounds-"));
});
afterAll(() => rmSync(at, { recursive: true, force: true }));

const spillFile = (): SpillFile => new SpillFile(join(at, `spill-${names++}`), "a test");

/** The same numbers each time, in no order. */
function* shuffled(count: number): Generator<number> {
  for (let i = 0, n = 7; i < count; i++, n = (n + 7_919) % count) yield n;
}

test("a spill file has no name, and is made when it is first needed", () => {
  using spill = spillFile();
  spill.write(Buffer.from("kept"), spill.allocate(4));
  const back = Buffer.alloc(4);
  spill.read(back, 0);
  expect(back.toString()).toBe("kept");
  expect(readdirSync(at)).toEqual([]);
  const short = Buffer.alloc(5);
  expect(() => spill.read(short, 0)).toThrow(/tried to keep a test at .*shorter/);
});

test("a list of numbers grows, and knows where it ends", () => {
  const list = new Uint32List();
  for (let i = 0; i < 40_000; i++) {
    list.reserve(i + 1);
    list.set(i, 0xffff_ffff - i);
  }
  for (const i of shuffled(997)) expect(list.get(i * 40)).toBe(0xffff_ffff - i * 40);
  expect(list.get(1 << 20)).toBe(0);
  expect(() => list.set(1 << 20, 1)).toThrow(/no room/);
});

test("a spill file on a full disk says so", () => {
  using spill = new SpillFile("/proc/tsbuild-no-such-place", "a test");
  expect(() => spill.open()).toThrow(/tried to keep a test at \/proc\/tsbuild-no-such-place/);
});

test("pages come back as they were left, those of before included", () => {
  using spill = spillFile();
  const pages = new PagedBytes(spill, { pageSize: 64, resident: 10 });
  for (let i = 0; i < 200; i++) pages.add();
  for (const i of shuffled(200)) pages.page(i).writeUInt32LE(i * 3, 0);
  for (const i of shuffled(200)) pages.page(i).writeUInt32LE(i * 5, 60);
  pages.freeze();
  for (let round = 0; round < 2; round++) {
    for (const i of shuffled(200)) {
      expect(pages.page(i).readUInt32LE(0)).toBe(i * 3);
      expect(pages.page(i).readUInt32LE(60)).toBe(i * 5);
    }
  }
});

test("a log gives back what was added, over pages and whole", () => {
  using spill = spillFile();
  const log = new ByteLog(spill, 0);
  const parts = Array.from({ length: 400 }, (_, i) => Buffer.alloc(1 + ((i * 977) % 9_000), i));
  const placed = parts.map((part, i) => (i % 2 === 0 ? log.append(part) : log.appendWhole(part)));
  for (const i of shuffled(400)) {
    const part = parts[i] ?? Buffer.alloc(0);
    const place = placed[i] ?? 0;
    const found = i % 2 === 0 ? log.read(place, part.length) : log.view(place, part.length);
    expect(part.equals(found)).toBe(true);
  }
  expect(Buffer.concat(Array.from(log.pieces(), (piece) => Buffer.from(piece))).length).toBe(
    log.length,
  );
});

test("nodes are found, sorted and forgotten when most of them are on the disk", () => {
  using spill = spillFile();
  const table = new RecordTable(spill, 1);
  table.add(0, "");
  const nodes = new Map<string, number>();
  for (const i of shuffled(40_000)) nodes.set(`n${i}`, table.add(0, `n${i}`));
  for (const [name, node] of nodes) expect(table.find(0, name)).toBe(node);
  expect(table.find(0, "n40000")).toBeUndefined();
  const sorted = Array.from(table.sortedChildren(0), (node) => table.nameOf(node).toString());
  expect(sorted).toEqual([...nodes.keys()].toSorted());
  table.clear(0);
  expect(table.find(0, "n1")).toBeUndefined();
  for (let i = 0; i < 100_000; i++) table.add(0, `m${i}`);
  expect(table.find(0, "n1")).toBeUndefined();
  expect(table.sortedChildren(0).length).toBe(100_000);
  table.freeze();
  expect(() => table.find(0, "m1")).toThrow(/after its end/);
});

test("very many names are sorted by their bytes, whatever they have in common", () => {
  const make = (i: number): string =>
    `${i % 2 === 0 ? "a" : "b"}${"x".repeat(i % 3 === 0 ? 20 : 0)}${i.toString(36)}${i % 5 === 0 ? "é" : ""}`;
  const all = Array.from(shuffled(5_000), (i) => Buffer.from(make(i)));
  const nodes = Uint32Array.from(all, (_, i) => i);
  sortByName(nodes, (node) => all[node] ?? Buffer.alloc(0));
  const expected = all.toSorted((a, b) => a.compare(b)).map(String);
  expect(Array.from(nodes, (node) => String(all[node]))).toEqual(expected);
});

test("a tree forgets what is below a file, and knows its children when it is frozen", () => {
  using spill = spillFile();
  const tree = new PathTree(spill);
  const directory = tree.make(0, "d");
  tree.make(directory, "gone");
  expect(tree.reference(directory)).toBeUndefined();
  tree.set(directory, 0, "other");
  expect(tree.reference(directory)).toBe(0);
  expect(tree.isDirectory(directory)).toBe(false);
  expect(tree.find(directory, "gone")).toBeUndefined();
  tree.set(directory, 7, "opaque directory");
  expect(tree.isOpaque(directory)).toBe(true);
  for (const name of ["b", "a", "\udcff"]) tree.make(directory, name);
  tree.freeze();
  const children = tree.children(directory);
  expect(Array.from(children, (node) => tree.nameOf(node))).toEqual(["a", "b", "\udcff"]);
  expect(tree.findAmong(children, "b")).toBe(children[1]);
  expect(tree.findAmong(children, "c")).toBeUndefined();
});

test("an index that is too large for memory answers as one that is not", () => {
  using spill = spillFile();
  const builder = new IndexBuilder(spill);
  const entry = { mode: 0o644, uid: 3, gid: 4, size: 0, xattrs: new Map<string, Uint8Array>() };
  for (const i of shuffled(180_000)) {
    const path = `d${i % 7}/${String(i).padStart(40, "0")}`;
    builder.directory(`d${i % 7}`);
    const mtimeNs = BigInt(i) * 1_000_000_001n;
    const xattrs = i % 10_000 === 1 ? new Map([["user.a", Buffer.alloc(70_000, i)]]) : entry.xattrs;
    if (i % 1_000 === 0)
      builder.add({ ...entry, path, type: "symlink", mtimeNs, linkTarget: `t${i}` }, 0);
    else builder.add({ ...entry, path, type: "file", mtimeNs, size: i, xattrs }, i);
  }
  const path = join(at, "index");
  const fd = openSync(path, "wx");
  builder.write(fd, diffIdFromHex("ab".repeat(32)), 5);
  closeSync(fd);
  const onDisk = openIndexFile(path, openIndexPages());
  const bytes = readFileSync(path);
  expect(bytes.length).toBeGreaterThan(16_000_000);
  const trees = [mergedTree([openIndex(bytes)]), mergedTree([onDisk])] as const;
  for (const tree of trees) expect(tree.list("d3").length).toBe(Math.ceil((180_000 - 3) / 7));
  for (const i of shuffled(2_000)) {
    const wanted = `d${(i * 90) % 7}/${String(i * 90).padStart(40, "0")}`;
    const found = trees.map((tree) => tree.lstat(wanted));
    expect(found[0]).toBeDefined();
    expect(found[1]).toEqual(found[0]);
  }
  const large = `d${10_001 % 7}/${"10001".padStart(40, "0")}`;
  expect(trees[1].lstat(large)?.xattrs.get("user.a")).toEqual(Buffer.alloc(70_000, 10_001));
  expect(trees[1].lstat("d3/none")).toBeUndefined();
  rmSync(path);
  expect(() => trees[1].list("d5")).toThrow(/tried to read the index .*ENOENT/);
});

test("a damaged index is told from a whole one in a file, too", () => {
  const path = join(at, "damaged");
  const fd = openSync(path, "wx+");
  using spill = spillFile();
  const builder = new IndexBuilder(spill);
  builder.directory("a");
  builder.write(fd, diffIdFromHex("ab".repeat(32)), 5);
  closeSync(fd);
  expect(openIndexFile(path).nodes).toBe(2);
  expect(() => openIndexFile("/dev/null")).toThrow(/it is none/);
});

test("indexes that are used together share their memory", () => {
  using spill = spillFile();
  const builder = new IndexBuilder(spill);
  for (let i = 0; i < 20_000; i++) builder.directory(`d${i % 100}/${i}`);
  const path = join(at, "shared");
  const fd = openSync(path, "wx");
  builder.write(fd, diffIdFromHex("ab".repeat(32)), 5);
  closeSync(fd);
  const pages = openIndexPages({ whole: 2 * readFileSync(path).length, paged: 100_000 });
  const before = process.memoryUsage().arrayBuffers;
  const trees = Array.from({ length: 40 }, () => mergedTree([openIndexFile(path, pages)]));
  // Each of them after all others, so that pages change hands.
  for (const i of shuffled(100)) {
    for (const tree of trees.slice(i % 37)) {
      expect(tree.lstat(`d${i % 100}/${i}`)?.type).toBe("directory");
      expect(tree.lstat(`d${i % 100}/${i + 1}`)).toBeUndefined();
    }
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(12 * 1024 * 1024);
});
