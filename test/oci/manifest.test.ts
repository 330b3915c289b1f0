import { expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { diffIdFromHex, digestFromHex, digestOf } from "../../src/oci/digest.js";
import { scratchImage } from "../../src/oci/image.js";
import {
  layerInFormat,
  parseIndex,
  parseManifest,
  selectManifest,
  serializeIndex,
  serializeManifest,
} from "../../src/oci/manifest.js";
import * as types from "../../src/oci/media-types.js";
import type { Descriptor, Image, ImageFormat } from "../../src/oci/types.js";

const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const decode = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString());
const digest = (byte: string): Descriptor["digest"] => digestFromHex(byte.repeat(32));
const CONFIG = { mediaType: types.OCI_CONFIG, digest: digest("cc"), size: 10 };
const LAYER = { mediaType: `${types.OCI_LAYER}+gzip`, digest: digest("aa"), size: 20 };
const MANIFEST = {
  schemaVersion: 2,
  mediaType: types.OCI_MANIFEST,
  config: CONFIG,
  layers: [LAYER],
};

function imageWith(format: ImageFormat, ...mediaTypes: readonly string[]): Image {
  return {
    ...scratchImage({ os: "linux", architecture: "amd64" }),
    format,
    layers: mediaTypes.map((mediaType) => ({
      descriptor: { ...LAYER, mediaType },
      diffId: diffIdFromHex("dd".repeat(32)),
    })),
  };
}

function errorOf(work: () => unknown): TsbuildError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(TsbuildError);
    return error as TsbuildError;
  }
  throw new Error("nothing was thrown");
}

test("an OCI manifest is read with its annotations, and what we do not know is kept", () => {
  const layer = { ...LAYER, urls: ["https://example.com/x"], annotations: { a: "b" } };
  const source = {
    ...MANIFEST,
    layers: [layer],
    annotations: { k: "v" },
    subject: CONFIG,
  };
  expect(parseManifest(encode(source), types.OCI_MANIFEST)).toEqual({
    mediaType: types.OCI_MANIFEST,
    format: "oci",
    config: CONFIG,
    layers: [{ ...LAYER, annotations: { a: "b" }, other: { urls: ["https://example.com/x"] } }],
    annotations: { k: "v" },
    other: { subject: CONFIG },
  });
});

test.each([
  ["its own word", { mediaType: types.DOCKER_MANIFEST }, undefined, "docker"],
  ["the sender's word", {}, types.DOCKER_MANIFEST, "docker"],
  [
    "its config's type, where nobody says",
    { config: { ...CONFIG, mediaType: types.DOCKER_CONFIG } },
    undefined,
    "docker",
  ],
  ["its config's type, where it came as plain JSON", {}, "application/json", "oci"],
  ["nothing at all", { config: { ...CONFIG, mediaType: undefined } }, undefined, "oci"],
])("the format is known by %s", (_, fields, served, format) => {
  const source = { ...MANIFEST, mediaType: undefined, ...fields };
  expect(parseManifest(encode(source), served).format).toBe(format);
});

test.each([
  ["another type than it was served as", MANIFEST, types.DOCKER_MANIFEST, "yet it was served as"],
  ["an index", { ...MANIFEST, mediaType: types.OCI_INDEX }, undefined, "expected application/vnd"],
  ["a manifest and an index at once", { ...MANIFEST, manifests: [] }, undefined, "at once"],
  ["schema 1", { schemaVersion: 1 }, undefined, "schema 1 is not supported"],
  ["no schema version", { ...MANIFEST, schemaVersion: undefined }, undefined, "is not 2"],
  ["no config", { ...MANIFEST, config: undefined }, undefined, "config is missing"],
  [
    "a config without a digest",
    { ...MANIFEST, config: { size: 1 } },
    undefined,
    "config.digest is missing",
  ],
  [
    "a negative size",
    { ...MANIFEST, layers: [{ ...LAYER, size: -1 }] },
    undefined,
    "layers[0].size",
  ],
  [
    "a sha512 digest",
    { ...MANIFEST, layers: [{ ...LAYER, digest: "sha512:00" }] },
    undefined,
    "only sha256 is supported",
  ],
  [
    "a digest that is a path",
    { ...MANIFEST, layers: [{ ...LAYER, digest: "sha256:../x" }] },
    undefined,
    "is not a digest",
  ],
  ["layers that are no list", { ...MANIFEST, layers: {} }, undefined, "layers is an object"],
])("a manifest that is %s is refused", (_, source, served, why) => {
  const error = errorOf(() => parseManifest(encode(source), served));
  expect(error.message).toMatch(/^tried to read an image manifest: /);
  expect(error.message).toContain(why);
});

test("an index is read, and the entry for a platform found", () => {
  const amd64 = {
    ...CONFIG,
    mediaType: types.OCI_MANIFEST,
    platform: { os: "linux", architecture: "amd64" },
  };
  const arm = {
    ...amd64,
    digest: digest("bb"),
    platform: { os: "linux", architecture: "arm", variant: "v6" },
  };
  const windows = {
    ...amd64,
    digest: digest("11"),
    platform: { os: "windows", architecture: "amd64", "os.version": "10.0" },
  };
  const attestation = {
    ...amd64,
    digest: digest("ee"),
    platform: { os: "unknown", architecture: "unknown" },
  };
  const index = parseIndex(
    encode({
      schemaVersion: 2,
      mediaType: types.OCI_INDEX,
      manifests: [attestation, windows, arm, amd64],
    }),
    types.OCI_INDEX,
  );
  expect(index.format).toBe("oci");
  expect(index.manifests[1]?.platform?.osVersion).toBe("10.0");
  const select = (architecture: string, variant?: string): string | undefined =>
    selectManifest(index.manifests, { os: "linux", architecture, ...(variant ? { variant } : {}) })
      ?.digest;
  expect(select("amd64")).toBe(amd64.digest);
  expect(select("arm", "v7")).toBe(arm.digest);
  expect(select("s390x")).toBeUndefined();
  expect(errorOf(() => parseIndex(encode(MANIFEST))).message).toContain("manifests is missing");
});

test.each([
  ["oci", [types.DOCKER_LAYER, `${types.DOCKER_LAYER}.gzip`, `${types.OCI_LAYER}+zstd`]],
  ["docker", [types.OCI_LAYER, `${types.OCI_LAYER}+gzip`, `${types.DOCKER_LAYER}.gzip`]],
] as const)("a manifest in %s format has media types of that family only", (format, layers) => {
  const image = imageWith(format, ...layers);
  const { bytes, descriptor } = serializeManifest(image, { ...CONFIG, mediaType: "" });
  expect(descriptor).toEqual({
    mediaType: format === "oci" ? types.OCI_MANIFEST : types.DOCKER_MANIFEST,
    digest: digestOf(bytes),
    size: bytes.byteLength,
  });
  const text = Buffer.from(bytes).toString();
  expect(text).not.toContain(format === "oci" ? "vnd.docker" : "vnd.oci");
  const read = parseManifest(bytes, descriptor.mediaType);
  expect(read.format).toBe(format);
  expect(read.layers.map((layer) => types.layerCompression(layer.mediaType))).toEqual(
    layers.map((mediaType) => types.layerCompression(mediaType)),
  );
});

test("the bytes of a manifest are these, and do not depend on the order of annotations", () => {
  const image = imageWith("oci", LAYER.mediaType);
  const one = serializeManifest(image, CONFIG, { b: "2", a: "1" });
  expect(Buffer.from(one.bytes).toString()).toBe(
    `{"schemaVersion":2,"mediaType":"${types.OCI_MANIFEST}",` +
      `"config":{"mediaType":"${types.OCI_CONFIG}","digest":"${CONFIG.digest}","size":10},` +
      `"layers":[{"mediaType":"${LAYER.mediaType}","digest":"${LAYER.digest}","size":20}],` +
      `"annotations":{"a":"1","b":"2"}}`,
  );
  expect(serializeManifest(image, CONFIG, { a: "1", b: "2" }).descriptor).toEqual(one.descriptor);
});

test("Docker's format refuses zstd layers and annotations", () => {
  const zstd = errorOf(() =>
    serializeManifest(imageWith("docker", `${types.OCI_LAYER}+zstd`), CONFIG),
  );
  expect(zstd).toMatchObject({
    code: "USAGE",
    hint: expect.stringContaining("--image-format=oci"),
  });
  const annotated = errorOf(() => serializeManifest(imageWith("docker"), CONFIG, { a: "b" }));
  expect(annotated.message).toContain("no annotations");
});

test.each(["", "application/vnd.in-toto+json", `${types.OCI_LAYER}+gzip+encrypted`])(
  "a layer of the type %j is refused",
  (mediaType) => {
    const error = errorOf(() => layerInFormat({ ...LAYER, mediaType }, "oci"));
    expect(error.message).toContain("is no image layer");
  },
);

test("foreign layers stay foreign and keep their addresses", () => {
  const foreign = {
    ...LAYER,
    mediaType: types.DOCKER_FOREIGN_LAYER,
    other: { urls: ["https://x/y"] },
  };
  const oci = layerInFormat(foreign, "oci");
  expect(oci.mediaType).toBe("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
  expect(layerInFormat(oci, "docker")).toEqual(foreign);
  const image: Image = {
    ...imageWith("oci"),
    layers: [{ descriptor: foreign, diffId: diffIdFromHex("dd".repeat(32)) }],
  };
  expect(Buffer.from(serializeManifest(image, CONFIG).bytes).toString()).toContain(
    '"urls":["https://x/y"]',
  );
});

test("an index is written as it is read", () => {
  const platform = { os: "linux", architecture: "arm", variant: "v7", osVersion: "1" };
  const entry = { ...CONFIG, mediaType: types.DOCKER_MANIFEST, platform };
  const { bytes, descriptor } = serializeIndex("docker", [entry]);
  expect(descriptor.mediaType).toBe(types.DOCKER_INDEX);
  expect(parseIndex(bytes, descriptor.mediaType).manifests).toEqual([entry]);
  expect(decode(serializeIndex("oci", [], { a: "b" }).bytes)).toEqual({
    schemaVersion: 2,
    mediaType: types.OCI_INDEX,
    manifests: [],
    annotations: { a: "b" },
  });
});
