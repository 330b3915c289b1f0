import { expect, test } from "vitest";
import {
  describePlatform,
  formatPlatform,
  hostPlatform,
  matchPlatform,
  parsePlatform,
} from "../../src/oci/platform.js";

test.each([
  ["linux/amd64", "linux/amd64"],
  ["linux/x86_64", "linux/amd64"],
  ["linux/amd64/v1", "linux/amd64"],
  ["linux/amd64/v3", "linux/amd64/v3"],
  ["linux/aarch64", "linux/arm64"],
  ["linux/arm64/v8", "linux/arm64"],
  ["linux/arm64/8", "linux/arm64"],
  ["linux/arm64/v9", "linux/arm64/v9"],
  ["linux/arm", "linux/arm/v7"],
  ["linux/arm/7", "linux/arm/v7"],
  ["linux/arm/v6", "linux/arm/v6"],
  ["linux/armhf", "linux/arm/v7"],
  ["linux/armel", "linux/arm/v6"],
  ["linux/armhf/v6", "linux/arm/v7"],
  ["linux/i386", "linux/386"],
  ["linux/arm64/v8.0", "linux/arm64"],
  ["linux/arm64/9.0", "linux/arm64/v9"],
  ["linux/x86", "linux/x86"],
  ["nosuch/nosuch", "nosuch/nosuch"],
  ["Linux/AMD64", "linux/amd64"],
  ["macos/arm64", "darwin/arm64"],
  ["windows/amd64", "windows/amd64"],
  ["linux/riscv64", "linux/riscv64"],
])("%s means %s, as in containerd", (text, normal) => {
  expect(formatPlatform(parsePlatform(text))).toBe(normal);
});

test("an architecture alone, or a system alone, takes the rest from this machine", () => {
  const host = hostPlatform();
  expect(parsePlatform("s390x")).toEqual({ os: host.os, architecture: "s390x" });
  expect(parsePlatform("windows")).toEqual({ os: "windows", architecture: host.architecture });
  expect(host.os).toBe("linux");
});

test("a version of the system stands in parentheses", () => {
  const windows = { os: "windows", architecture: "amd64", osVersion: "10.0.17763.1" };
  expect(parsePlatform("windows(10.0.17763.1)/amd64")).toEqual(windows);
  expect(parsePlatform("windows(10)")).toMatchObject({ os: "windows", osVersion: "10" });
  expect(describePlatform(windows)).toBe("windows(10.0.17763.1)/amd64");
  expect(describePlatform({ os: "linux", architecture: "arm", variant: "v7" })).toBe(
    "linux/arm/v7",
  );
});

test.each([
  "x",
  "8",
  "x86",
  "linux.",
  "v8",
  "linux(1",
  "",
  "/",
  "linux/",
  "linux//v7",
  "a/b/c/d",
  "linux/amd 64",
  "linux/amd64\n",
])("%j is no platform", (text) => {
  expect(() => parsePlatform(text)).toThrow("is not a platform");
});

test.each([
  ["linux/arm/v7", ["linux/arm/v8", "linux/arm/v6", "linux/arm/v5"], "linux/arm/v6"],
  ["linux/arm/v7", ["linux/arm/v6", "linux/arm"], "linux/arm/v7"],
  ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"],
  ["linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"],
  ["linux/amd64", ["linux/386", "linux/arm64"], "linux/386"],
  ["linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"],
  ["linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64"],
  ["linux/386", ["linux/amd64"], undefined],
  ["linux/amd64", ["linux/amd64/v2", "windows/amd64", "unknown/unknown"], undefined],
  ["linux/arm64", ["linux/arm64/v9"], undefined],
])("%s is served best, of %j, by %s", (wanted, offered, best) => {
  const ranked = offered
    .map((text) => parsePlatform(text))
    .map((platform) => ({ platform, score: matchPlatform(platform, parsePlatform(wanted)) }))
    .filter(({ score }) => score > 0)
    .toSorted((a, b) => b.score - a.score);
  expect(ranked[0] && formatPlatform(ranked[0].platform)).toBe(best);
});
