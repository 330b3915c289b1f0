import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DamagedError } from "../../../src/solver/copy/codec/byte-source.js";
import { bunzip2 } from "../../../src/solver/copy/codec/bzip2.js";
import { unxz } from "../../../src/solver/copy/codec/xz.js";
import { reader } from "./support.js";

const has = (command: string): boolean => {
  const found = (process.env["PATH"] ?? "").split(":").some((at) => existsSync(join(at, command)));
  if (!found) console.log(`skipped: no ${command} on this machine`);
  return found;
};

function pack(command: string, args: readonly string[], input: Uint8Array): Buffer {
  return execFileSync(command, ["-c", ...args], { input, maxBuffer: 1 << 28 });
}

function hashOf(chunks: Iterable<Uint8Array>): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

/** Text with structure, noise, long runs and far repeats. */
function mixture(): Buffer {
  const words = Array.from({ length: 60_000 }, (_, i) => `word${(i * 7919) % 1013} `).join("");
  const noise = randomBytes(700_000);
  return Buffer.concat([
    Buffer.from(words),
    noise,
    Buffer.alloc(2_000_000, 0x61),
    Buffer.from(words.slice(1000)),
    noise.subarray(5),
    Buffer.from("aaaabbbbbccccdddddddd".repeat(100)),
  ]);
}

const cases: readonly [string, () => Buffer][] = [
  ["nothing", () => Buffer.alloc(0)],
  ["one byte", () => Buffer.of(7)],
  [
    "runs of every length",
    () => Buffer.concat(Array.from({ length: 600 }, (_, i) => Buffer.alloc(i, i))),
  ],
  ["noise", () => randomBytes(300_000)],
  ["a mixture", mixture],
];

describe.skipIf(!has("bzip2"))("bzip2", () => {
  test.each(cases)("%s comes back", (_, make) => {
    const plain = make();
    for (const level of ["-1", "-9"]) {
      expect(hashOf(bunzip2(reader(pack("bzip2", [level], plain))))).toBe(hashOf([plain]));
    }
  });

  test("streams one after the other are one content", () => {
    const both = Buffer.concat([
      pack("bzip2", [], Buffer.from("one")),
      pack("bzip2", ["-1"], Buffer.from("two")),
    ]);
    expect(Buffer.concat([...bunzip2(reader(both))]).toString()).toBe("onetwo");
  });

  test("damage and truncation are found", () => {
    const packed = pack("bzip2", [], mixture());
    const damaged = Buffer.from(packed);
    damaged[packed.length >> 1]! ^= 0x10;
    expect(() => hashOf(bunzip2(reader(damaged)))).toThrow(DamagedError);
    expect(() => hashOf(bunzip2(reader(packed.subarray(0, -3))))).toThrow(/truncated/);
    expect(() => hashOf(bunzip2(reader(Buffer.concat([packed, Buffer.from("tail")]))))).toThrow(
      DamagedError,
    );
  });
});

describe.skipIf(!has("xz"))("xz", () => {
  test.each(cases)("%s comes back", (_, make) => {
    const plain = make();
    for (const args of [
      ["-0"],
      ["-6"],
      ["-9"],
      ["-9e", "--lzma2=preset=9e,lc=0,lp=4,pb=4"],
      ["--lzma2=dict=4KiB"],
    ]) {
      expect(hashOf(unxz(reader(pack("xz", args, plain)))), args.join(" ")).toBe(hashOf([plain]));
    }
  });

  test.each(["none", "crc32", "crc64", "sha256"])("its check %s is known", (check) => {
    const plain = mixture();
    expect(hashOf(unxz(reader(pack("xz", ["-1", `--check=${check}`], plain))))).toBe(
      hashOf([plain]),
    );
  });

  test("many blocks and streams, with padding between, are one content", () => {
    const plain = mixture();
    const blocks = pack("xz", ["-1", "--block-size=100000"], plain);
    const all = Buffer.concat([blocks, Buffer.alloc(8), pack("xz", [], Buffer.from("end"))]);
    expect(hashOf(unxz(reader(all)))).toBe(hashOf([plain, Buffer.from("end")]));
  });

  test("blocks of several threads, which give their sizes, are read", () => {
    const plain = mixture();
    expect(hashOf(unxz(reader(pack("xz", ["-1", "-T2", "--block-size=500000"], plain))))).toBe(
      hashOf([plain]),
    );
  });

  test("damage and truncation are found", () => {
    const packed = pack("xz", ["-1"], mixture());
    for (const at of [8, 20, packed.length >> 2, packed.length - 40, packed.length - 2]) {
      const damaged = Buffer.from(packed);
      damaged[at]! ^= 0x10;
      expect(() => hashOf(unxz(reader(damaged))), String(at)).toThrow(DamagedError);
    }
    expect(() => hashOf(unxz(reader(packed.subarray(0, -9))))).toThrow(/truncated/);
  });

  test("a filter for machine code and a huge dictionary are refused by name", () => {
    const plain = Buffer.from("hello");
    expect(() => hashOf(unxz(reader(pack("xz", ["--x86", "--lzma2"], plain))))).toThrow(
      /filter other than/,
    );
    expect(() => hashOf(unxz(reader(pack("xz", ["--lzma2=dict=256MiB"], plain))))).toThrow(
      /dictionary is larger/,
    );
  });
});
