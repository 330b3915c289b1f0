import { expect, test } from "vitest";
import {
  formatRanges,
  identityOf,
  mapWithSubordinate,
  nameOf,
  parseSubordinate,
} from "../../src/worker/idmap.js";

const SUBUID = `# a comment
root:1:5
builder:100000:65536
other:200000:65536
1000:300000:1000
builder:not:sound
`;

test("a user's subordinate ids are those under its name and under its number", () => {
  expect(parseSubordinate(SUBUID, "builder", 1000)).toEqual([
    { outside: 100_000, count: 65_536 },
    { outside: 300_000, count: 1000 },
  ]);
  expect(parseSubordinate(SUBUID, undefined, 1000)).toEqual([{ outside: 300_000, count: 1000 }]);
  expect(parseSubordinate(SUBUID, "nobody", 65_534)).toEqual([]);
});

test("the caller is root and the subordinate ids follow without a gap", () => {
  const uids = mapWithSubordinate(1000, parseSubordinate(SUBUID, "builder", 1000));
  expect(formatRanges(uids)).toBe("0 1000 1\n1 100000 65536\n65537 300000 1000\n");
  expect(nameOf({ uids, gids: uids })).toBe("0-1000-1_1-100000-65536_65537-300000-1000");
});

test("maps that differ for groups have names that differ", () => {
  const uids = mapWithSubordinate(1000, []);
  const gids = mapWithSubordinate(100, []);
  expect(nameOf({ uids, gids })).toBe("0-1000-1_g_0-100-1");
});

test("container root gives away the ids that it has, as themselves", () => {
  const own = "         0     100000      65536\n     65536     200000         10\n";
  expect(formatRanges(identityOf(own))).toBe("0 0 65536\n65536 65536 10\n");
});
