import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { tarHeader } from "../../src/layer/index.js";
import { rawTar, readTar, temporaryDirectory } from "../support/layer-changes.js";

const at = temporaryDirectory();
const tar = (...args: string[]): void =>
  void execFileSync("tar", args, { stdio: ["ignore", "ignore", "inherit"] });

describe.each(["v7", "oldgnu", "gnu", "ustar", "posix"])(
  "an archive of GNU tar in format %s",
  (format) => {
    const source = join(at, format);
    const archive = join(at, `${format}.tar`);
    const long = format === "v7" ? "short" : `${"d".repeat(80)}/${"n".repeat(90)}`;
    mkdirSync(join(source, long, ".."), { recursive: true });
    writeFileSync(join(source, long), "long");
    writeFileSync(join(source, "tool"), "x".repeat(1000));
    chmodSync(join(source, "tool"), 0o4755);
    linkSync(join(source, "tool"), join(source, "tool2"));
    symlinkSync("tool", join(source, "link"));
    utimesSync(join(source, "tool"), 1_500_000_000, 1_500_000_000);
    tar("-c", "-f", archive, `--format=${format}`, "--sort=name", "-C", source, ".");

    test.each([Number.MAX_SAFE_INTEGER, 512, 7])("is read in pieces of %i bytes", (step) => {
      const bytes = readFileSync(archive);
      const entries = readTar(bytes, Math.min(step, bytes.length));
      const byPath = new Map(entries.map((entry) => [entry.path, entry]));
      expect(byPath.get("./")?.type).toBe("directory");
      expect(byPath.get(`./${long}`)?.content.toString()).toBe("long");
      expect(byPath.get("./link")).toMatchObject({ type: "symlink", linkTarget: "tool" });
      expect(byPath.get("./tool")).toMatchObject({
        type: "file",
        mode: 0o4755,
        size: 1000,
        uid: 0,
      });
      expect(byPath.get("./tool")?.mtimeNs).toBe(1_500_000_000_000_000_000n);
      expect(byPath.get("./tool2")).toMatchObject({
        type: "hardlink",
        linkTarget: "./tool",
        size: 0,
      });
    });
  },
);

describe.each([
  ["oldgnu", []],
  ["gnu", []],
  ["posix", ["--sparse-version=0.0"]],
  ["posix", ["--sparse-version=0.1"]],
  ["posix", ["--sparse-version=1.0"]],
])("a sparse file in format %s %j", (format, options) => {
  test("is read with its holes filled", () => {
    const source = join(at, `sparse-${format}${options.join("")}`);
    mkdirSync(source);
    const path = join(source, "sparse");
    const fd = openSync(path, "w");
    // Enough pieces for extension headers of the old format, which hold 4 and then 21 each.
    for (let i = 0; i < 60; i++) writeSync(fd, Buffer.from(`piece ${i}`), 0, null, i * 131_072 + 5);
    truncateSync(path, 9_000_001);
    const archive = `${source}.tar`;
    tar("-c", "-S", "-f", archive, `--format=${format}`, ...options, "-C", source, "sparse");
    const bytes = readFileSync(archive);
    expect(bytes.length).toBeLessThan(3_000_000);
    for (const step of [bytes.length, 1000]) {
      const [entry] = readTar(bytes, step);
      expect(entry?.path).toBe("sparse");
      expect(entry?.size).toBe(9_000_001);
      expect(entry?.content.equals(readFileSync(path))).toBe(true);
    }
  });
});

test("owners, times and sizes beyond octal come through in PAX and in base 256", () => {
  const numbers = { uid: 4_294_967_294, gid: 4_000_000_000, mtimeNs: -1_500_000_001n };
  const [pax] = readTar(rawTar([{ path: "f", ...numbers }]));
  expect(pax).toMatchObject(numbers);
  const header = Buffer.from(
    tarHeader({
      path: "f",
      type: "file",
      mode: 0o644,
      size: 0,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      xattrs: new Map(),
    }),
  );
  header.set([0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe], 108);
  header.set([...Array.from({ length: 11 }, () => 0xff), 0xfe], 136);
  fixChecksum(header);
  const [gnu] = readTar(Buffer.concat([header, Buffer.alloc(1024)]));
  expect(gnu).toMatchObject({ uid: 4_294_967_294, mtimeNs: -2_000_000_000n });
});

test("a header may promise more than 8 GiB", () => {
  const size = 10 * 2 ** 30;
  const seen: number[] = [];
  const header = tarHeader({
    path: "big",
    type: "file",
    mode: 0,
    size,
    uid: 0,
    gid: 0,
    mtimeNs: 0n,
    xattrs: new Map(),
  });
  expect(() => readTar(Buffer.from(header))).toThrow(/ends in the middle of an entry, at "big"/);
  const base256 = Buffer.from(
    tarHeader({
      path: "big",
      type: "file",
      mode: 0,
      size: 0,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      xattrs: new Map(),
    }),
  );
  base256.set([0x80, 0, 0, 0, 0, 0, 0, 2, 0x80, 0, 0, 0], 124);
  fixChecksum(base256);
  try {
    readTar(base256);
  } catch (error) {
    seen.push(String(error).includes('at "big"') ? 1 : 0);
  }
  expect(seen).toEqual([1]);
});

test("xattrs keep their bytes, star's and libarchive's", () => {
  const capability = Buffer.from("0100000280000000000000000000000000000000", "hex");
  const [star] = readTar(
    rawTar([{ path: "f", xattrs: new Map([["security.capability", capability]]) }]),
  );
  expect(star?.xattrs.get("security.capability")).toEqual(capability);
  const [libarchive] = readTar(
    withPax([["LIBARCHIVE.xattr.user.a%20b", Buffer.from(capability.toString("base64"))]]),
  );
  expect(libarchive?.xattrs.get("user.a b")).toEqual(capability);
});

test("a global header holds for all entries until an own record or an empty one says otherwise", () => {
  const global = paxEntry("g", [
    ["uid", Buffer.from("77")],
    ["mtime", Buffer.from("5.25")],
  ]);
  const own = paxEntry("x", [["uid", Buffer.from("78")]]);
  const none = paxEntry("x", [["uid", Buffer.alloc(0)]]);
  const plain = rawTar([{ path: "f", uid: 5 }]).subarray(0, 512);
  const entries = readTar(
    Buffer.concat([global, plain, own, plain, none, plain, Buffer.alloc(1024)]),
  );
  expect(entries.map((entry) => entry.uid)).toEqual([77, 78, 5]);
  expect(entries.map((entry) => entry.mtimeNs)).toEqual([
    5_250_000_000n,
    5_250_000_000n,
    5_250_000_000n,
  ]);
});

test("names that are no UTF-8 keep their bytes", () => {
  const header = Buffer.from(rawTar([{ path: "xx" }]));
  header.set([0xff, 0xe9], 0);
  fixChecksum(header);
  const [entry] = readTar(header);
  expect(entry?.path).toBe("\udcff\udce9");
});

test("a slash behind a name tells a directory in the oldest archives alone", () => {
  const archive = Buffer.from(rawTar([{ path: "f/", content: "x" }]));
  expect(readTar(archive)).toMatchObject([{ path: "f/", type: "file", size: 1 }]);
  archive[156] = 0;
  fixChecksum(archive);
  expect(readTar(archive)).toMatchObject([{ path: "f/", type: "directory", size: 0 }]);
});

test("an archive cut at any border of 512 bytes is an error or ends between two entries", () => {
  const archive = rawTar([
    { path: "a", content: "x".repeat(1300) },
    { path: `${"n".repeat(150)}é`, content: "y" },
    { path: "d/", type: "directory" },
    { path: "l", type: "symlink", linkTarget: "t".repeat(300) },
  ]);
  const whole = readTar(archive).map((entry) => entry.path);
  let complete = 0;
  for (let cut = 0; cut < archive.length; cut += 512) {
    let entries: string[] | undefined;
    try {
      entries = readTar(archive.subarray(0, cut), 512).map((entry) => entry.path);
    } catch (error) {
      expect(String(error)).toMatch(
        /TsbuildError: tried to read the archive: the archive ends in the middle of an entry/,
      );
    }
    if (entries === undefined) continue;
    complete += 1;
    expect(whole.slice(0, entries.length)).toEqual(entries);
  }
  // Before each entry, after the last one, and after one zero block.
  expect(complete).toBe(whole.length + 2);
  for (const cut of [1, 100, 511, 513, 1025]) {
    expect(() => readTar(archive.subarray(0, cut))).toThrow(/ends in the middle/);
  }
});

test.each([
  ["a wrong checksum", (header: Buffer) => header.write("9", 0), /checksum/],
  ["an unknown type", (header: Buffer) => header.write("Z", 156), /type "Z" is unknown/],
  [
    "letters in a number",
    (header: Buffer) => header.write("zz", 124),
    /number in the header is malformed/,
  ],
  [
    "an owner beyond 32 bits",
    (header: Buffer) => header.set([0x80, 0, 0, 1, 0, 0, 0, 0], 108),
    /owner/,
  ],
  ["a negative size", (header: Buffer) => header.fill(0xff, 124, 136), /malformed/],
  [
    "a sparse map without a size",
    (header: Buffer) => header.write("S", 156),
    /sparse map is malformed/,
  ],
])("%s is an error that names the entry", (what, change, message) => {
  const archive = rawTar([{ path: "victim" }]);
  change(archive);
  if (what !== "a wrong checksum") fixChecksum(archive);
  expect(() => readTar(archive)).toThrow(message);
  expect(() => readTar(archive)).toThrow(/victim|9ictim/);
});

test.each([
  ["no length", "xx path=a\n"],
  ["a length beyond the body", "99 path=a\n"],
  ["no line end", "9 path=ab"],
  ["no equals sign", "7 path\n"],
  ["a length of zero", "0 path=a\n"],
])("extended header with %s is malformed", (_, body) => {
  const header = Buffer.from(rawTar([{ path: "x", content: body }]));
  header.write("x", 156);
  fixChecksum(header);
  expect(() => readTar(header)).toThrow(/extended header is malformed/);
});

test("an extended header of more than 1 MiB is refused before it is read", () => {
  const header = Buffer.from(
    tarHeader({
      path: "x",
      type: "file",
      mode: 0,
      size: 2 ** 21,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      xattrs: new Map(),
    }),
  );
  header.write("x", 156);
  fixChecksum(header);
  expect(() => readTar(header)).toThrow(/larger than 1 MiB/);
});

test.each([
  ["overlaps", "0,10,5,10"],
  ["goes beyond the file", "0,10,90,20"],
  ["counts more than is stored", "0,50,50,50"],
  ["is uneven", "0,10,20"],
  ["is no numbers", "a,b"],
])("a sparse map that %s is an error", (_, map) => {
  const records: [string, Buffer][] = [
    ["GNU.sparse.size", Buffer.from("100")],
    ["GNU.sparse.map", Buffer.from(map)],
  ];
  expect(() => readTar(withPax(records, "y".repeat(20)))).toThrow(/sparse map/);
});

test("random damage gives errors of ours and nothing else", () => {
  const archive = rawTar([
    { path: "a", content: "x".repeat(700), xattrs: new Map([["user.x", Buffer.from("v")]]) },
    { path: "n".repeat(200), content: "y" },
  ]);
  let seed = 42;
  for (let round = 0; round < 3000; round++) {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    const copy = Buffer.from(archive);
    copy[seed % copy.length] = (seed >> 8) & 0xff;
    try {
      readTar(copy);
    } catch (error) {
      expect(error).toMatchObject({ name: "TsbuildError", code: "STORE_FAILED" });
    }
  }
});

function fixChecksum(archive: Buffer): void {
  archive.fill(0x20, 148, 156);
  const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

function paxEntry(flag: "x" | "g", records: readonly (readonly [string, Buffer])[]): Buffer {
  const lines = records.map(([key, value]) => {
    const rest = key.length + value.length + 3;
    let length = rest + 1;
    while (rest + String(length).length !== length) length = rest + String(length).length;
    return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from("\n")]);
  });
  const archive = Buffer.from(
    rawTar([{ path: "pax", content: Buffer.concat(lines).toString("latin1") }]),
  );
  archive.write(flag, 156);
  fixChecksum(archive);
  return archive.subarray(0, archive.length - 1024);
}

function withPax(records: readonly (readonly [string, Buffer])[], content = ""): Buffer {
  return Buffer.concat([paxEntry("x", records), rawTar([{ path: "f", content }])]);
}
