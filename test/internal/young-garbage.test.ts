import { expect, test, vi } from "vitest";
import { type Collector, watchGarbage } from "../../src/internal/young-garbage.js";

const MIB = 1024 * 1024;
const IDLE: Collector = { young: () => undefined, all: () => undefined, buffers: () => 0 };

test("collects once for every four mebibytes, however they come", () => {
  let collections = 0;
  const garbage = watchGarbage({ ...IDLE, young: () => void collections++ });
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

test("collects everything once so many buffers count as old, above those that are in use", () => {
  let buffers = 5 * MIB;
  let all = 0;
  const garbage = watchGarbage({ ...IDLE, all: () => void all++, buffers: () => buffers });
  const step = (now: number): number => {
    buffers = now * MIB;
    garbage.count(4 * MIB);
    return all;
  };
  expect([5, 10, 11, 5, 15].map(step)).toEqual([0, 0, 1, 1, 1]);
  expect([16, 6, 16, 17].map(step)).toEqual([2, 2, 2, 3]);
});

test("gives back buffers that are held for a while", () => {
  const garbage = watchGarbage();
  const held: Buffer[] = [];
  const most = peak((buffer) => {
    held.push(buffer);
    if (held.length > 32) held.shift();
    garbage.count(MIB / 4);
  });
  expect(most).toBeLessThan(40 * MIB);
});

test("asks nothing of /proc, which a thread inside a root does not see", () => {
  const usage = vi.spyOn(process, "memoryUsage").mockImplementation(() => {
    throw new Error("ENOENT: no such file or directory, uv_resident_set_memory");
  });
  try {
    const garbage = watchGarbage();
    for (let at = 0; at < 16; at++) garbage.count(4 * MIB);
    expect(usage).not.toHaveBeenCalled();
  } finally {
    usage.mockRestore();
  }
});

/** Of bytes in buffers, while 128 MiB of them come and go. */
function peak(each: (buffer: Buffer) => void): number {
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let at = 0; at < 512; at++) {
    each(Buffer.allocUnsafe(MIB / 4).fill(1));
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  return most;
}
