import { describe, expect, test } from "vitest";
import { readAnnotations } from "../../src/build/export-annotations.js";
import { serializeAll } from "../../src/build/export-image.js";
import { scratchImage } from "../../src/oci/image.js";
import { parseIndex, parseManifest } from "../../src/oci/manifest.js";
import type { ImageFormat, Platform } from "../../src/oci/types.js";

const AMD64: Platform = { os: "linux", architecture: "amd64" };
const ARM64: Platform = { os: "linux", architecture: "arm64" };

describe("what carries an annotation", () => {
  test("a name alone is every manifest's", () => {
    const read = readAnnotations({ "org.example/a": "1" }, [AMD64, ARM64], true);
    expect(read.manifest(AMD64)).toEqual({ "org.example/a": "1" });
    expect(read.manifest(ARM64)).toEqual({ "org.example/a": "1" });
    expect(read.index).toEqual({});
  });

  test("a platform in brackets chooses one, in any of its spellings", () => {
    const read = readAnnotations({ "manifest[linux/aarch64]:a": "1" }, [AMD64, ARM64], true);
    expect(read.manifest(AMD64)).toEqual({});
    expect(read.manifest(ARM64)).toEqual({ a: "1" });
  });

  test("several carriers are joined by commas", () => {
    const read = readAnnotations(
      { "index,manifest-descriptor[linux/amd64],index-descriptor:a": "1" },
      [AMD64],
      true,
    );
    expect(read.index).toEqual({ a: "1" });
    expect(read.indexDescriptor).toEqual({ a: "1" });
    expect(read.manifestDescriptor(AMD64)).toEqual({ a: "1" });
    expect(read.manifest(AMD64)).toEqual({});
  });

  test.each([
    ["layer:a", 'nothing called "layer" carries any'],
    ["manifest[linux/s390x]:a", "linux/s390x is not built"],
    ["manifest[]:a", '"" is not a platform'],
    ["index[linux/amd64]:a", "an index is for all platforms"],
    ["", "it has no name"],
  ])("%j is refused", (key, why) => {
    expect(() => readAnnotations({ [key]: "1" }, [AMD64], true)).toThrow(
      expect.objectContaining({ code: "USAGE", message: expect.stringContaining(why) }),
    );
  });

  test("an index's annotation needs an index", () => {
    expect(() => readAnnotations({ "index:a": "1" }, [AMD64], false)).toThrow(
      "annotation a: there is no index to carry it",
    );
  });
});

describe("annotated images", () => {
  const images = (format: ImageFormat): ReturnType<typeof scratchImage>[] =>
    [AMD64, ARM64].map((platform) => ({ ...scratchImage(platform), format }));
  const given = {
    every: "1",
    "manifest[linux/arm64]:one": "2",
    "manifest-descriptor:entry": "3",
    "index:top": "4",
    "index-descriptor:layout": "5",
  };

  test("each annotation is where it was asked for", () => {
    const read = readAnnotations(given, [AMD64, ARM64], true);
    const { images: serialized, index } = serializeAll(images("oci"), true, read);
    const manifests = serialized.map(({ manifest }) => parseManifest(manifest.bytes).annotations);
    expect(manifests).toEqual([{ every: "1" }, { every: "1", one: "2" }]);
    const parsed = parseIndex(index?.bytes ?? new Uint8Array());
    expect(parsed.annotations).toEqual({ top: "4" });
    expect(parsed.manifests.map((entry) => entry.annotations)).toEqual([
      { entry: "3" },
      { entry: "3" },
    ]);
    expect(index?.descriptor.annotations).toEqual({ layout: "5" });
  });

  test.each(["every", "manifest-descriptor:a", "index:a", "index-descriptor:a"])(
    "Docker's format cannot say %s",
    (key) => {
      const read = readAnnotations({ [key]: "1" }, [AMD64, ARM64], true);
      expect(() => serializeAll(images("docker"), true, read)).toThrow(
        "Docker's format has no annotations",
      );
    },
  );
});
