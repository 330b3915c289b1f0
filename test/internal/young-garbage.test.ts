import { expect, test } from "vitest";
import { watchGarbage } from "../../src/internal/young-garbage.js";

const MIB = 1024 * 1024;

test("collects once for every four mebibytes, however they come", () => {
  let collections = 0;
  const garbage = watchGarbage(() => void collections++);
  for (let at = 0; at < 63; at++) garbage.count(MIB / 16);
  expect(collections).toBe(0);
  garbage.count(MIB / 16);
  expect(collections).toBe(1);
  garbage.count(100 * MIB);
  expect(collections).toBe(2);
  garbage.count(4 * MIB - 1);
  expect(collections).toBe(2);
});

test("gives back buffers that nobody holds, long before V8 would", () => {
  const garbage = watchGarbage();
  const most = peak(() => garbage.count(MIB / 4));
  expect(most).toBeLessThan(12 * MIB);
});

/** Of bytes in buffers, while 64 MiB of them come and go. */
function peak(each: () => void): number {
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let at = 0; at < 256; at++) {
    Buffer.allocUnsafe(MIB / 4).fill(1);
    each();
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  return most;
}
