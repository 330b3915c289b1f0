import { expect, test } from "vitest";
import { ignoredArgs } from "../../src/build/ignored-args.js";
import { parseDockerfile } from "../../src/dockerfile/index.js";

function notices(args: Readonly<Record<string, string>>, text: string): readonly string[] {
  return ignoredArgs(args, parseDockerfile({ path: "Dockerfile", text }));
}

test("an inline cache that is asked for is not silently left out", () => {
  expect(notices({ BUILDKIT_INLINE_CACHE: "1" }, "FROM scratch\n")).toEqual([
    "BUILDKIT_INLINE_CACHE does nothing: the image carries no cache",
  ]);
  expect(notices({ BUILDKIT_INLINE_CACHE: "0" }, "FROM scratch\n")).toEqual([]);
});

test.each([
  "docker/dockerfile",
  "docker.io/docker/dockerfile:1.7-labs",
  "m.example/docker/dockerfile@sha256:00",
])("the syntax %s is this one", (syntax) => {
  expect(notices({}, `# syntax=${syntax}\nFROM scratch\n`)).toEqual([]);
  expect(notices({ BUILDKIT_SYNTAX: syntax }, "# syntax=other/frontend\nFROM scratch\n")).toEqual(
    [],
  );
});

test("another frontend is named", () => {
  const expected = [
    "the syntax example.com/mine:1 is not loaded: the file is read as a Dockerfile",
  ];
  expect(notices({}, "# syntax=example.com/mine:1\nFROM scratch\n")).toEqual(expected);
  expect(notices({ BUILDKIT_SYNTAX: "example.com/mine:1" }, "FROM scratch\n")).toEqual(expected);
});
