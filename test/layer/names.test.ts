import fc from "fast-check";
import { expect, test } from "vitest";
import { cleanPath, compareNames, decodeName, encodeName } from "../../src/layer/index.js";
import { entryRole } from "../../src/layer/entry-path.js";

test("any bytes come back from their text", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(encodeName(decodeName(bytes)).equals(bytes)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

test("any text that is UTF-8 is its own", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      expect(encodeName(text)).toEqual(Buffer.from(text));
      expect(decodeName(Buffer.from(text))).toBe(text);
    }),
  );
});

test("names are ordered by their bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      const order = Math.sign(compareNames(decodeName(a), decodeName(b)));
      expect(order).toBe(Buffer.compare(a, b));
    }),
  );
  // In JavaScript's own order the first would be the greater.
  expect(compareNames("\uffee", "\u{1f600}")).toBe(-1);
});

test.each([
  ["a/b", "a/b"],
  ["./a//b/.", "a/b"],
  ["/a/../b/", "b"],
  ["", ""],
  ["./", ""],
  ["...", "..."],
  [".a/..b", ".a/..b"],
  ["..", ""],
  ["a/../../b", "b"],
  ["/../b", "b"],
  ["a\0b", undefined],
])("%j is cleaned to %j", (name, expected) => {
  expect(cleanPath(name)).toBe(expected);
});

test.each([
  ["a/b", { kind: "entry" }],
  ["a.wh.b", { kind: "entry" }],
  [".wh.dir/b", { kind: "entry" }],
  [".wh.b", { kind: "whiteout", path: "b" }],
  ["a/.wh.b", { kind: "whiteout", path: "a/b" }],
  ["a/.wh..wh..opq", { kind: "opaque", path: "a" }],
  [".wh..wh..opq", { kind: "opaque", path: "" }],
  [".wh..wh.aufs", { kind: "metadata" }],
  [".wh..wh.plnk/1.2", { kind: "metadata" }],
  ["a/.wh.", { kind: "nameless" }],
  ["a/.wh...", { kind: "nameless" }],
])("%s has the role %j", (path, role) => {
  expect(entryRole(path)).toEqual(role);
});
