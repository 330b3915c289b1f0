import { expect, test } from "vitest";
import { parseConfig } from "../../src/oci/config.js";
import { diffIdFromHex, digestFromHex, digestOf } from "../../src/oci/digest.js";
import { imageOf, scratchImage, serializeImage } from "../../src/oci/image.js";
import { parseManifest } from "../../src/oci/manifest.js";
import { layerMediaType } from "../../src/oci/media-types.js";
import { parseReference } from "../../src/oci/reference.js";
import type { History, Layer } from "../../src/oci/types.js";
import { withConfig, withLayer } from "../support/image-steps.js";

const AMD64 = { os: "linux", architecture: "amd64" };
const layer = (byte: string): Layer => ({
  descriptor: {
    mediaType: layerMediaType("oci", "gzip"),
    digest: digestFromHex(byte.repeat(32)),
    size: 1,
  },
  diffId: diffIdFromHex(byte.repeat(32)),
});

test.each(["oci", "docker"] as const)(
  "an image in %s format is read as it was written",
  (format) => {
    const base = { ...scratchImage(AMD64), format };
    const image = withConfig(
      withLayer(base, layer("aa"), { createdBy: "COPY" }),
      { labels: { a: "b" }, healthcheck: { test: ["NONE"] } },
      { createdBy: "LABEL" },
    );
    const { config, manifest } = serializeImage(image);
    expect(config.descriptor.digest).toBe(digestOf(config.bytes));
    const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
    expect(parsed.config).toEqual(config.descriptor);
    const origin = parseReference("example.com/base:1");
    const read = imageOf(parsed, parseConfig(config.bytes), origin);
    expect(read.format).toBe(format);
    expect(read.config).toEqual(image.config);
    expect(read.history).toEqual(image.history);
    expect(read.layers).toEqual([
      {
        ...layer("aa"),
        descriptor: { ...layer("aa").descriptor, mediaType: layerMediaType(format, "gzip") },
        origin,
      },
    ]);
  },
);

test("a config with other layers than the manifest is refused", () => {
  const { config } = serializeImage(scratchImage(AMD64));
  const { manifest } = serializeImage(withLayer(scratchImage(AMD64), layer("aa"), {}));
  expect(() => imageOf(parseManifest(manifest.bytes), parseConfig(config.bytes))).toThrow(
    "its manifest has 1 layers, its config 0",
  );
});

test.each([
  ["none", [], [false, false]],
  ["too little", [true, false], [true, false, false]],
  ["too much", [false, true, false, false], [true, true, false, false]],
  ["the right amount", [false, true, false], [false, true, false]],
])("with %s history of its layers, an image has an entry for each", (_, before, after) => {
  const history = before.map((emptyLayer, index): History => ({
    createdBy: `${index}`,
    emptyLayer,
  }));
  const image = { ...scratchImage(AMD64), layers: [layer("aa"), layer("bb")], history };
  const { config, manifest } = serializeImage(image);
  const read = imageOf(parseManifest(manifest.bytes), parseConfig(config.bytes));
  expect(read.history.map((entry) => entry.emptyLayer)).toEqual(after);
  expect(read.history.slice(0, before.length).map((entry) => entry.createdBy)).toEqual(
    before.map((_empty, index) => `${index}`),
  );
});
