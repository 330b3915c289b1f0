import { expect, test } from "vitest";
import { goDuration, goQuote, goQuoteList } from "../../src/solver/go-format.js";

test.each([
  [0, "0s"],
  [1, "1ns"],
  [1500, "1.5µs"],
  [100_000_000, "100ms"],
  [1_000_000_000, "1s"],
  [1_500_000_000, "1.5s"],
  [90_000_000_000, "1m30s"],
  [3_600_000_000_000, "1h0m0s"],
])("a duration of %d ns is %s", (ns, text) => {
  expect(goDuration(ns)).toBe(text);
});

test("strings are quoted as Go's %q does", () => {
  expect(goQuote('a "b"\\\n\t\x01é')).toBe('"a \\"b\\"\\\\\\n\\t\\x01é"');
  expect(goQuoteList(["a", "b c"])).toBe('["a" "b c"]');
  expect(goQuoteList([])).toBe("[]");
});
