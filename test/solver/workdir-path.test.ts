import { expect, test } from "vitest";
import { isAbsoluteWorkdir, joinWorkdir } from "../../src/solver/workdir-path.js";
import { after, stateOf } from "./support-tools.js";

test.each([
  ["/w", "a", "/w/a"],
  ["/w", "a/", "/w/a"],
  ["/w", "..", "/"],
  ["", "a", "/a"],
  ["rel", "a", "/rel/a"],
  ["/w", "", "/w"],
  ["/w", "/a/../b/", "/a/../b/"],
  ["/w", "C:\\a", "/w/C:\\a"],
])("from %j, WORKDIR %j leads to %j", (current, path, expected) => {
  expect(joinWorkdir(current, path, "linux")).toBe(expected);
});

test.each([
  ["\\w", "a", "/w/a"],
  ["/", "C:\\a\\..\\b\\", "/b"],
  ["/w", "c:a", "/w/a"],
  ["c:\\w", "\\a", "/a"],
])("on Windows, from %j, WORKDIR %j leads to %j", (current, path, expected) => {
  expect(joinWorkdir(current, path, "windows")).toBe(expected);
});

test.each([
  ["D:\\a", "not on the system drive"],
  ["C:", "no relative path"],
  ["\\\\server\\x", "UNC paths"],
])("%s is no directory of a Windows image", (path, why) => {
  expect(() => joinWorkdir("/", path, "windows")).toThrow(why);
});

test("what is absolute depends on the system", () => {
  expect(["/a", "a", "\\a", "C:\\a"].map((path) => isAbsoluteWorkdir(path, "linux"))).toEqual([
    true,
    false,
    false,
    false,
  ]);
  expect(["/a", "a", "\\a", "C:\\a", "C:a"].map((p) => isAbsoluteWorkdir(p, "windows"))).toEqual([
    true,
    false,
    true,
    true,
    false,
  ]);
});

test("a base's own working directory is made absolute, and put below itself, as BuildKit does", async () => {
  const { state } = await after([], { state: stateOf({ workingDir: "rel/../x" }) });
  expect(state.image.config.workingDir).toBe("/x/x");
});
