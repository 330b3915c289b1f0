import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type ArchiveCompression, decompress, sniffCompression } from "../../src/layer/index.js";
import { chunked } from "../support/layer-changes.js";

const TEXT = Buffer.from(
  Array.from({ length: 20_000 }, (_, i) => `line ${i} ${(i * 7919) % 1000}\n`).join(""),
);
const INPUTS: readonly (readonly [string, Buffer])[] = [
  ["nothing", Buffer.alloc(0)],
  ["one byte", Buffer.from("x")],
  ["text", TEXT],
  ["noise", randomBytes(300_000)],
  ["zeros", Buffer.alloc(3_000_000)],
  ["all three", Buffer.concat([TEXT, randomBytes(200_000), Buffer.alloc(500_000, "ab"), TEXT])],
];
const TOOLS = { gzip: ["gzip"], zstd: ["zstd", "-q"], bzip2: ["bzip2"], xz: ["xz"] } as const;
type Tool = keyof typeof TOOLS;
const KINDS = Object.keys(TOOLS) as Tool[];

/** By the program of that name: what the rest of the world writes. */
function compressed(tool: Tool, input: Buffer, ...options: string[]): Buffer {
  const [program, ...always] = TOOLS[tool];
  return execFileSync(program, [...always, "-c", ...options], { input, maxBuffer: 1 << 28 });
}

async function collect(
  bytes: Uint8Array,
  kind: ArchiveCompression,
  step?: number,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of decompress(chunked(bytes, step), kind, { what: "the archive" })) {
    parts.push(Buffer.from(chunk));
  }
  return Buffer.concat(parts);
}

describe.each(KINDS)("%s", (kind) => {
  test.each(INPUTS)("gives %s back", async (_, input) => {
    const bytes = compressed(kind, input);
    expect(sniffCompression(bytes)).toBe(kind);
    expect((await collect(bytes, kind)).equals(input)).toBe(true);
  });

  test("takes its input in pieces of any size", async () => {
    const input = TEXT.subarray(0, 50_000);
    const bytes = compressed(kind, input);
    for (const step of [1, 7, 1000])
      expect((await collect(bytes, kind, step)).equals(input)).toBe(true);
  });

  test("reads several streams in one file as one content, wherever a chunk ends", async () => {
    const first = compressed(kind, Buffer.from("first "));
    const bytes = Buffer.concat([first, compressed(kind, Buffer.from("second"))]);
    for (const step of [1, first.length, 3, bytes.length]) {
      expect((await collect(bytes, kind, step)).toString()).toBe("first second");
    }
  });

  test("cut anywhere, it is an error and never a short content", async () => {
    const bytes = compressed(kind, TEXT.subarray(0, 20_000));
    for (const cut of [1, 3, 9, 20, bytes.length >> 1, bytes.length - 9, bytes.length - 1]) {
      await expect(collect(bytes.subarray(0, cut), kind)).rejects.toMatchObject({
        code: "STORE_FAILED",
        message: expect.stringContaining("tried to decompress the archive: ") as string,
      });
    }
  });

  test("a damaged byte is an error", async () => {
    const bytes = compressed(kind, TEXT);
    for (const at of [bytes.length >> 1, bytes.length >> 2, bytes.length - 20]) {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 0x10;
      if (kind === "zstd") continue;
      await expect(collect(copy, kind)).rejects.toMatchObject({ code: "STORE_FAILED" });
    }
  });

  test("an empty file is an error", async () => {
    await expect(collect(Buffer.alloc(0), kind)).rejects.toThrow(/unexpected end of file/);
  });

  test("something else is an error", async () => {
    await expect(collect(Buffer.from("no archive at all, just text"), kind)).rejects.toMatchObject({
      name: "TsbuildError",
    });
  });

  test("a bomb costs no memory, and stops when nobody reads on", async () => {
    // Decoding these two in JavaScript takes a second for 64 MiB.
    const size = (kind === "bzip2" || kind === "xz" ? 24 : 256) * 2 ** 20;
    const bytes = compressed(kind, Buffer.alloc(size));
    const before = process.memoryUsage().rss;
    let seen = 0;
    let peak = 0;
    for await (const chunk of decompress(chunked(bytes), kind)) {
      seen += chunk.length;
      peak = Math.max(peak, process.memoryUsage().rss);
    }
    expect(seen).toBe(size);
    expect(peak - before).toBeLessThan(160 * 2 ** 20);
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* chunked(bytes, 64);
      } finally {
        closed = true;
      }
    }
    for await (const chunk of decompress(source(), kind)) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    expect(closed).toBe(true);
  });

  test("an error of the source passes unchanged", async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield compressed(kind, TEXT).subarray(0, 1000);
      throw new RangeError("the network is gone");
    }
    await expect(
      (async () => {
        for await (const _ of decompress(failing(), kind)) void _;
      })(),
    ).rejects.toThrow(new RangeError("the network is gone"));
  });
});

test("a window smaller than what a chunk holds, and each kind of checksum, are fine for xz", async () => {
  const input = Buffer.concat([Buffer.alloc(5_000_000, "abc"), TEXT]);
  for (const check of ["none", "crc32", "crc64", "sha256"]) {
    const bytes = compressed("xz", input, "--lzma2=preset=0,dict=4KiB", `--check=${check}`);
    expect((await collect(bytes, "xz")).equals(input)).toBe(true);
  }
});

test("several blocks, and another number of literal and position bits, are fine for xz", async () => {
  const bytes = compressed("xz", TEXT, "--lzma2=preset=1,lc=2,lp=2,pb=0", "--block-size=50000");
  expect((await collect(bytes, "xz")).equals(TEXT)).toBe(true);
});

test("what xz can do and archives do not is an error that says so", async () => {
  await expect(collect(compressed("xz", TEXT, "--x86", "--lzma2"), "xz")).rejects.toThrow(
    /filter besides LZMA2/,
  );
  await expect(
    collect(compressed("xz", TEXT, "--lzma2=preset=0,dict=128MiB"), "xz"),
  ).rejects.toThrow(/window larger than 64 MiB/);
});

test("every byte of an xz or bzip2 file counts", async () => {
  for (const kind of ["xz", "bzip2"] as const) {
    const bytes = compressed(kind, Buffer.from("some text, some more text"));
    for (let at = 0; at < bytes.length; at++) {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 0x41;
      const result = await collect(copy, kind).catch((error: unknown) => error);
      if (Buffer.isBuffer(result))
        expect([kind, at, result.toString()]).toEqual([kind, at, "some text, some more text"]);
      else expect(result).toMatchObject({ name: "TsbuildError" });
    }
  }
});

test("zeros after a gzip member are padding, anything else is an error", async () => {
  const member = gzipSync("content");
  expect((await collect(Buffer.concat([member, Buffer.alloc(600)]), "gzip")).toString()).toBe(
    "content",
  );
  await expect(collect(Buffer.concat([member, Buffer.from("rubbish")]), "gzip")).rejects.toThrow(
    /incorrect header/,
  );
});

test("zstd passes over skippable frames", async () => {
  const frame = compressed("zstd", Buffer.from("content"));
  const skippable = Buffer.concat([
    Buffer.from("502a4d18", "hex"),
    Buffer.from([4, 0, 0, 0]),
    Buffer.from("skip"),
  ]);
  expect((await collect(Buffer.concat([skippable, frame, skippable]), "zstd")).toString()).toBe(
    "content",
  );
});

test.each([
  [Buffer.alloc(0), "none"],
  [Buffer.from([0x1f]), "none"],
  [Buffer.from("hello world"), "none"],
  [Buffer.from("BZh9"), "bzip2"],
] as const)("%j is sniffed as %s", (bytes, expected) => {
  expect(sniffCompression(bytes)).toBe(expected);
});
