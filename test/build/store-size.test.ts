import { expect, test } from "vitest";
import { parseDuration, parseSize } from "../../src/build/store-size.js";
import { bytesToKeep, defaultBound } from "../../src/store/index.js";

const GB = 1e9;

test.each([
  [0, 0],
  [1234, 1234],
  ["0", 0],
  ["512", 512],
  ["1k", 1024],
  ["1.5KiB", 1536],
  ["10MB", 10 * 1024 ** 2],
  ["20gb", 20 * 1024 ** 3],
  ["2 T", 2 * 1024 ** 4],
  ["25%", 250],
  ["0.5%", 5],
])("the size %s is %d bytes, of a disk of 1000", (text, bytes) => {
  expect(parseSize(text, "keep-storage", 1000)).toBe(bytes);
});

test.each(["", "x", "-1", "10q", "1e9", "10%%", "k", "5 bb", -1, 1.5, Number.NaN])(
  "the size %s is refused by its name",
  (text) => {
    expect(() => parseSize(text, "keep-storage", 1000)).toThrow(/^keep-storage cannot be/);
  },
);

test.each([
  [0, 0],
  ["90s", 90_000],
  ["1h30m", 5_400_000],
  ["48h", 172_800_000],
  ["7d", 604_800_000],
  ["1w", 604_800_000],
  ["250ms", 250],
  ["1.5h", 5_400_000],
])("the duration %s is %d milliseconds", (text, ms) => {
  expect(parseDuration(text, "older-than")).toBe(ms);
});

test.each(["", "5", "h", "1h ", "1y", "-1h", "1h5", -5])(
  "the duration %s is refused by its name",
  (text) => {
    expect(() => parseDuration(text, "older-than")).toThrow(/^older-than cannot be/);
  },
);

test("the default bound is BuildKit's", () => {
  const small = defaultBound({ total: 50 * GB, used: 0, free: 50 * GB });
  expect(small).toEqual({ most: 40 * GB, free: 10 * GB, least: 5 * GB });
  const large = defaultBound({ total: 1000 * GB, used: 0, free: 1000 * GB });
  expect(large).toEqual({ most: 100 * GB, free: 200 * GB, least: 10 * GB });
});

test.each([
  ["there is room", 30, 60, 80],
  ["the disk is fuller than it may be", 30, 10, 20],
  ["others fill the disk", 30, 0, 10],
  ["it is smaller than what it may always keep", 4, 0, 10],
])("where %s, a store of %d GB with %d GB free may keep %d GB", (_, bytes, free, kept) => {
  const disk = { total: 100 * GB, used: (100 - free) * GB, free: free * GB };
  expect(bytesToKeep(bytes * GB, disk, defaultBound(disk))).toBe(kept * GB);
});
