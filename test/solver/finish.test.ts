import { expect, test } from "vitest";
import { parsePlatform } from "../../src/oci/platform.js";
import { finished } from "../../src/solver/finish.js";
import type { Platform } from "../../src/oci/types.js";
import { optionsOf, stateOf } from "./support-tools.js";

const WINDOWS: Platform = { os: "windows", architecture: "amd64", osVersion: "10.0.1" };

test.each<[base: Platform, asked: string | undefined, Platform]>([
  [{ os: "linux", architecture: "arm64", variant: "v8" }, undefined, parsePlatform("linux/arm64")],
  [{ os: "linux", architecture: "arm64", variant: "v8" }, "linux/amd64", parsePlatform("amd64")],
  [{ os: "linux", architecture: "amd64" }, "linux/arm/v6", parsePlatform("linux/arm/v6")],
  [
    { os: "linux", architecture: "amd64", variant: "v3" },
    "linux/amd64",
    parsePlatform("linux/amd64/v3"),
  ],
  [WINDOWS, "windows/amd64", WINDOWS],
  [WINDOWS, "windows(10.0.2)/amd64", { ...WINDOWS, osVersion: "10.0.2" }],
  [WINDOWS, "linux/amd64", { os: "linux", architecture: "amd64" }],
])("an image of %j built for %s is one of %j", (platform, asked, expected) => {
  const options = optionsOf({
    platformRequested: asked !== undefined,
    ...(asked === undefined ? {} : { targetPlatform: parsePlatform(asked) }),
  });
  expect(finished(stateOf({ platform }), options).config.platform).toEqual(expected);
});

test("labels of the command line win over the Dockerfile's", () => {
  const options = optionsOf({ labels: new Map([["a", "2"]]) });
  const { config } = finished(stateOf({ labels: { a: "1", b: "1" } }), options);
  expect(config.labels).toEqual({ a: "2", b: "1" });
});

test("the working directory of a Windows image has backslashes", () => {
  const state = stateOf({ workingDir: "C:\\a/b" }, { os: "windows", architecture: "amd64" });
  expect(state.image.config.workingDir).toBe("/a/b");
  expect(finished(state, optionsOf()).config.workingDir).toBe("\\a\\b");
});
