import { expect, test } from "vitest";
import { makesIndex } from "../../src/build/export-image.js";

const asked = (value: string | undefined) => ({
  context: ".",
  ...(value === undefined ? {} : { buildArgs: { BUILDKIT_MULTI_PLATFORM: value } }),
});

test.each([
  [undefined, 1, false],
  [undefined, 2, true],
  ["", 2, true],
  ["1", 1, true],
  ["True", 1, true],
  ["false", 1, false],
  ["t", 2, true],
] as const)(
  "BUILDKIT_MULTI_PLATFORM=%s and %d platforms: an index is made: %s",
  (value, images, made) => {
    expect(makesIndex(asked(value), images)).toBe(made);
  },
);

test("BUILDKIT_MULTI_PLATFORM that is no boolean, or that denies several platforms, is refused", () => {
  expect(() => makesIndex(asked("yes"), 1)).toThrow('invalid BUILDKIT_MULTI_PLATFORM "yes"');
  expect(() => makesIndex(asked("0"), 2)).toThrow("several platforms need an index");
});
