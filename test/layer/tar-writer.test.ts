import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { extract } from "tar-stream";
import { expect, test } from "vitest";
import {
  type FileType,
  type TarHeader,
  TRAILER,
  decodeName,
  encodeName,
  tarHeader,
} from "../../src/layer/index.js";
import { rawTar, readTar, temporaryDirectory } from "../support/layer-changes.js";

const at = temporaryDirectory();
const BASE: Omit<TarHeader, "path"> = {
  type: "file",
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeNs: 0n,
  size: 0,
  xattrs: new Map(),
};

test("an ordinary entry is one ustar block, without an extended header", () => {
  const header = tarHeader({
    ...BASE,
    path: "usr/bin/tool",
    mode: 0o4755,
    mtimeNs: 1_700_000_000_000_000_000n,
  });
  expect(header.length).toBe(512);
  expect(Buffer.from(header.subarray(257, 265)).toString("latin1")).toBe("ustar\x0000");
  // No user and group names: they would depend on the machine.
  expect(header.subarray(265, 329).every((byte) => byte === 0)).toBe(true);
});

test.each([
  ["a fraction of a second", { mtimeNs: 1n }],
  ["a time before 1970", { mtimeNs: -1_000_000_000n }],
  ["a large uid", { uid: 2_097_152 }],
  ["more than 8 GiB", { size: 8 * 2 ** 30 }],
  ["a name beyond ASCII", { path: "é" }],
  ["a name that cannot be split", { path: "n".repeat(101) }],
  ["a long link", { type: "symlink" as const, linkTarget: "t".repeat(101) }],
  ["an xattr", { xattrs: new Map([["user.a", Buffer.from("b")]]) }],
])("%s needs an extended header", (_, more) => {
  expect(tarHeader({ ...BASE, path: "f", ...more }).length).toBe(1536);
});

test.each([
  ["the largest octal numbers", { uid: 2_097_151, gid: 2_097_151, size: 8 * 2 ** 30 - 1 }],
  ["a name of 100 bytes", { path: "n".repeat(100) }],
  ["a name with a prefix", { path: `${"d".repeat(155)}/${"n".repeat(100)}` }],
])("%s need none", (_, more) => {
  expect(tarHeader({ ...BASE, path: "f", ...more }).length).toBe(512);
});

test("the same entry gives the same bytes, whatever the order of its xattrs", () => {
  const a = new Map([
    ["user.a", Buffer.from("1")],
    ["security.capability", Buffer.from("2")],
  ]);
  const b = new Map([...a].reverse());
  expect(tarHeader({ ...BASE, path: "f", xattrs: a })).toEqual(
    tarHeader({ ...BASE, path: "f", xattrs: b }),
  );
});

test("what no archive can hold is refused", () => {
  expect(() => tarHeader({ ...BASE, path: "s", type: "socket" })).toThrow(/socket has no place/);
  expect(() => tarHeader({ ...BASE, path: "a\0b" })).toThrow(/holds a NUL/);
  expect(() =>
    tarHeader({ ...BASE, path: "f", xattrs: new Map([["a=b", Buffer.alloc(0)]]) }),
  ).toThrow(/extended attribute "a=b"/);
});

test("GNU tar unpacks what we write", () => {
  const archive = join(at, "ours.tar");
  const target = join(at, "unpacked");
  const name = `${"long".repeat(40)}/näme ${"x".repeat(90)}`;
  writeFileSync(
    archive,
    rawTar([
      { path: "long".repeat(40), type: "directory" },
      { path: name, content: "hello", mtimeNs: 1_600_000_000_123_456_789n, mode: 0o600 },
      { path: "hard", type: "hardlink", linkTarget: name },
      { path: "soft", type: "symlink", linkTarget: "t".repeat(120) },
      { path: "early", mtimeNs: -1_500_000_000n },
      { path: "fifo", type: "fifo" },
    ]),
  );
  execFileSync("mkdir", [target]);
  execFileSync("tar", ["-x", "-p", "--no-same-owner", "-f", archive, "-C", target]);
  expect(readFileSync(join(target, name), "utf8")).toBe("hello");
  const stat = statSync(join(target, "hard"), { bigint: true });
  expect(stat.mtimeNs).toBe(1_600_000_000_123_456_789n);
  expect(stat.nlink).toBe(2n);
  expect(statSync(join(target, "early"), { bigint: true }).mtimeNs).toBe(-1_500_000_000n);
  expect(readdirSync(target).sort()).toEqual(["early", "fifo", "hard", "long".repeat(40), "soft"]);
});

test("tar-stream reads the same names, types and contents", async () => {
  const name = `d/${"ü".repeat(80)}`;
  const archive = rawTar([
    { path: "d/", type: "directory" },
    { path: name, content: "content" },
    { path: "link", type: "symlink", linkTarget: "x".repeat(150) },
  ]);
  const seen: unknown[] = [];
  const reader = extract();
  reader.end(archive);
  for await (const entry of reader) {
    let content = "";
    for await (const chunk of entry) content += String(chunk);
    seen.push([entry.header.name, entry.header.type, entry.header.linkname, content]);
  }
  expect(seen).toEqual([
    ["d/", "directory", null, ""],
    [name, "file", null, "content"],
    ["link", "symlink", "x".repeat(150), ""],
  ]);
});

const TYPES: readonly FileType[] = [
  "file",
  "directory",
  "symlink",
  "hardlink",
  "char",
  "block",
  "fifo",
];
const name = fc
  .uint8Array({ minLength: 1, maxLength: 300 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))));

test("whatever is written is read again, to the byte", () => {
  const entry = fc.record({
    name,
    type: fc.constantFrom(...TYPES),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.integer({ min: 0, max: 0xffff_ffff }),
    gid: fc.integer({ min: 0, max: 0xffff_ffff }),
    mtimeNs: fc.bigInt({ min: -(10n ** 19n), max: 10n ** 21n }),
    devMajor: fc.integer({ min: 0, max: 4095 }),
    devMinor: fc.integer({ min: 0, max: 0xf_ffff }),
    value: fc.uint8Array({ maxLength: 200 }),
    content: fc.uint8Array({ maxLength: 1100 }),
  });
  fc.assert(
    fc.property(entry, ({ name: bytes, value, content, ...fields }) => {
      const text = decodeName(bytes);
      const size = fields.type === "file" ? content.length : 0;
      const header: TarHeader = {
        ...fields,
        path: text,
        size,
        linkTarget: text,
        xattrs: new Map([["user.x", value]]),
      };
      const padding = Buffer.alloc((512 - (size % 512)) % 512);
      const [read] = readTar(
        Buffer.concat([tarHeader(header), content.subarray(0, size), padding, TRAILER]),
        700,
      );
      expect(
        encodeName(read?.path ?? "").equals(
          Buffer.from(
            fields.type === "directory" ? Buffer.concat([bytes, Buffer.from("/")]) : bytes,
          ),
        ),
      ).toBe(true);
      expect(read).toMatchObject(fields);
      expect(Buffer.from(read?.xattrs.get("user.x") ?? []).equals(value)).toBe(true);
      expect(read?.content.equals(content.subarray(0, size))).toBe(true);
      const isLink = fields.type === "symlink" || fields.type === "hardlink";
      expect(read?.linkTarget).toBe(isLink ? text : "");
    }),
    { numRuns: 500 },
  );
});
