import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { decompress } from "../../src/layer/compression/decompress.js";

const MIB = 1024 * 1024;

test("inflates any amount within a few mebibytes of buffers", async () => {
  const member = gzipSync(Buffer.alloc(32 * MIB, "What is inflated goes by and is not kept. "));
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  let bytes = 0;
  for await (const chunk of decompress(members(member, 4), "gzip")) {
    bytes += chunk.length;
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  expect(bytes).toBe(128 * MIB);
  expect(most).toBeLessThan(16 * MIB);
});

async function* members(member: Buffer, count: number): AsyncGenerator<Buffer, void, void> {
  for (let at = 0; at < count; at++) {
    yield member;
    await Promise.resolve();
  }
}
