import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decompress } from "../../src/layer/index.js";
import type { ArchiveCompression } from "../../src/layer/index.js";

const has = (command: string): boolean => {
  const found = (process.env["PATH"] ?? "").split(":").some((at) => existsSync(join(at, command)));
  if (!found) console.log(`skipped: no ${command} on this machine`);
  return found;
};

function pack(command: string, args: readonly string[], input: Uint8Array): Buffer {
  return execFileSync(command, ["-c", ...args], { input, maxBuffer: 1 << 28 });
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** In pieces whose ends fall anywhere. */
async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 70_001) yield bytes.subarray(at, at + 70_001);
}

async function inflate(packed: Uint8Array, compression: ArchiveCompression): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of decompress(pieces(packed), compression)) hash.update(chunk);
  return hash.digest("hex");
}
const bunzip2 = (packed: Uint8Array): Promise<string> => inflate(packed, "bzip2");
const unxz = (packed: Uint8Array): Promise<string> => inflate(packed, "xz");

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
  test.each(cases)("%s comes back", async (_, make) => {
    const plain = make();
    for (const level of ["-1", "-9"]) {
      expect(await bunzip2(pack("bzip2", [level], plain)), level).toBe(hashOf(plain));
    }
  });

  test("streams one after the other are one content", async () => {
    const both = Buffer.concat([
      pack("bzip2", [], Buffer.from("one")),
      pack("bzip2", ["-1"], Buffer.from("two")),
    ]);
    expect(await bunzip2(both)).toBe(hashOf(Buffer.from("onetwo")));
  });

  test("damage and truncation are found", async () => {
    const packed = pack("bzip2", [], mixture());
    const damaged = Buffer.from(packed);
    damaged[packed.length >> 1]! ^= 0x10;
    await expect(bunzip2(damaged)).rejects.toThrow();
    await expect(bunzip2(packed.subarray(0, -3))).rejects.toThrow();
  });
});

describe.skipIf(!has("xz"))("xz", () => {
  test.each(cases)("%s comes back", async (_, make) => {
    const plain = make();
    for (const args of [
      ["-0"],
      ["-6"],
      ["-9"],
      ["-9e", "--lzma2=preset=9e,lc=0,lp=4,pb=4"],
      ["--lzma2=dict=4KiB"],
    ]) {
      expect(await unxz(pack("xz", args, plain)), args.join(" ")).toBe(hashOf(plain));
    }
  });

  test.each(["none", "crc32", "crc64", "sha256"])("its check %s is known", async (check) => {
    const plain = mixture();
    expect(await unxz(pack("xz", ["-1", `--check=${check}`], plain))).toBe(hashOf(plain));
  });

  test("many blocks and streams, with padding between, are one content", async () => {
    const plain = mixture();
    const blocks = pack("xz", ["-1", "--block-size=100000"], plain);
    const all = Buffer.concat([blocks, Buffer.alloc(8), pack("xz", [], Buffer.from("end"))]);
    expect(await unxz(all)).toBe(hashOf(Buffer.concat([plain, Buffer.from("end")])));
  });

  test("blocks of several threads, which give their sizes, are read", async () => {
    const plain = mixture();
    const packed = pack("xz", ["-1", "-T2", "--block-size=500000"], plain);
    expect(await unxz(packed)).toBe(hashOf(plain));
  });

  test("damage and truncation are found", async () => {
    const packed = pack("xz", ["-1"], mixture());
    for (const at of [8, 20, packed.length >> 2, packed.length - 40, packed.length - 2]) {
      const damaged = Buffer.from(packed);
      damaged[at]! ^= 0x10;
      await expect(unxz(damaged), String(at)).rejects.toThrow();
    }
    await expect(unxz(packed.subarray(0, -9))).rejects.toThrow();
  });
});
