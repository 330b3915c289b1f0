import { expect, test } from "vitest";
import { destinationsOf } from "../../src/build/destinations.js";
import type { BuildOptions } from "../../src/index.js";
import { formatReference } from "../../src/oci/reference.js";

function names(options: Partial<BuildOptions>): readonly (readonly string[])[] {
  const { names, pushed } = destinationsOf({ context: ".", ...options });
  return [names.map(formatReference), pushed.map(formatReference)];
}

test("an image output names the image, and pushes it where that is asked", () => {
  const outputs = [
    { type: "image", names: ["r.example/named"] },
    { type: "image", names: ["r.example/pushed:1", "r.example/own"], push: true },
  ] as const;
  expect(names({ destinations: ["r.example/own"], outputs })).toEqual([
    ["r.example/own:latest", "r.example/named:latest", "r.example/pushed:1"],
    ["r.example/own:latest", "r.example/pushed:1"],
  ]);
});

test("push: false pushes nothing at all", () => {
  const outputs = [{ type: "image", names: ["r.example/a"], push: true }] as const;
  expect(names({ outputs, push: false })).toEqual([["r.example/a:latest"], []]);
});

test("files need no destination; an image without any name does", () => {
  expect(names({ outputs: [{ type: "local", dest: "x" }] })).toEqual([[], []]);
  expect(() => names({})).toThrow("the image has nowhere to go");
  expect(() => names({ outputs: [{ type: "image" }] })).toThrow("the image has nowhere to go");
});

test("what is pushed by digest has no tag, and names no archive", () => {
  const outputs = [
    { type: "image", names: ["r.example/a", "r.example/a"], push: true, byDigest: true },
    { type: "image", names: ["r.example/unpushed"], byDigest: true },
  ] as const;
  const found = destinationsOf({ context: ".", outputs });
  expect(found.byDigest.map(formatReference)).toEqual(["r.example/a"]);
  expect([found.names, found.pushed]).toEqual([[], []]);
  expect(destinationsOf({ context: ".", outputs, push: false }).byDigest).toEqual([]);
  const tagged = [{ type: "image", names: ["r.example/a:1"], byDigest: true }] as const;
  expect(() => destinationsOf({ context: ".", outputs: tagged })).toThrow(
    "cannot be pushed by digest",
  );
});
