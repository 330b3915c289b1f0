import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import {
  diffIdFromHex,
  digestFromHex,
  digestOf,
  hexOf,
  parseDiffId,
  parseDigest,
} from "../../src/oci/digest.js";

const HEX = createHash("sha256").update("x").digest("hex");

test("a digest is read as it is written, and its hex digits are its file name", () => {
  expect(parseDigest(`sha256:${HEX}`)).toBe(`sha256:${HEX}`);
  expect(parseDiffId(`sha256:${HEX}`)).toBe(`sha256:${HEX}`);
  expect(hexOf(digestFromHex(HEX))).toBe(HEX);
  expect(hexOf(diffIdFromHex(HEX))).toBe(HEX);
  expect(digestOf("x")).toBe(`sha256:${HEX}`);
  expect(digestOf(Buffer.from("x"))).toBe(`sha256:${HEX}`);
});

test.each([
  ["nothing", ""],
  ["no algorithm", HEX],
  ["another algorithm", `sha512:${HEX}${HEX}`],
  ["upper case", `sha256:${HEX.toUpperCase()}`],
  ["a digit too few", `sha256:${HEX.slice(1)}`],
  ["a digit too many", `sha256:${HEX}0`],
  ["a line feed behind it", `sha256:${HEX}\n`],
  ["a path", `sha256:../../${HEX.slice(6)}`],
])("%s is no digest", (_, text) => {
  expect(() => parseDigest(text)).toThrow("is not a digest");
  expect(() => parseDiffId(text)).toThrow("is not a diff id");
});
