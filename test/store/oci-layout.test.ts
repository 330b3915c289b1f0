import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { temporarySibling } from "../../src/internal/atomic-file.js";
import { parseConfig } from "../../src/oci/config.js";
import { digestOf, hexOf } from "../../src/oci/digest.js";
import { parseManifest, serializeIndex } from "../../src/oci/manifest.js";
import { OCI_INDEX } from "../../src/oci/media-types.js";
import { parseReference } from "../../src/oci/reference.js";
import { type OutputImage, openOciLayout, writeOciLayout } from "../../src/store/index.js";
import { hasTool, outputImage, tarOf } from "./images.js";

const { signal } = new AbortController();
const AMD64 = { os: "linux", architecture: "amd64" };
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-layout-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const small = (): OutputImage => outputImage([tarOf({ "a/one": "1" }), tarOf({ two: "2" })], "oci");

async function errorOf(work: Promise<unknown>): Promise<TsbuildError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TsbuildError);
  return error as TsbuildError;
}

async function json(...path: readonly string[]): Promise<unknown> {
  return JSON.parse(await readFile(join(...path), "utf8"));
}

/** With the first layer's bytes damaged, of the same length. */
function damaged(image: OutputImage): OutputImage {
  const [first, ...others] = image.layers;
  if (first === undefined) throw new Error("the image has no layers");
  async function* open(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(first?.descriptor.size ?? 0);
  }
  return { ...image, layers: [{ ...first, open }, ...others] };
}

async function expectWhole(path: string, image: OutputImage): Promise<void> {
  const index = (await json(path, "index.json")) as { manifests: { digest: string }[] };
  expect(index.manifests.map((one) => one.digest)).toEqual([image.manifest.descriptor.digest]);
  for (const name of await readdir(join(path, "blobs/sha256"))) {
    const bytes = await readFile(join(path, "blobs/sha256", name));
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(name);
  }
}

test("a new layout holds the image, its tag, and nothing else", async () => {
  const image = small();
  const path = join(root, "deep/er/layout");
  await writeOciLayout(path, image, [parseReference("example.com/app:v1")], signal);
  await expectWhole(path, image);
  expect(await json(path, "oci-layout")).toEqual({ imageLayoutVersion: "1.0.0" });
  expect(await json(path, "index.json")).toEqual({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [
      {
        ...image.manifest.descriptor,
        annotations: {
          "io.containerd.image.name": "example.com/app:v1",
          "org.opencontainers.image.ref.name": "v1",
        },
        platform: { architecture: "amd64", os: "linux" },
      },
    ],
  });
  expect(await readdir(join(path, ".."))).toEqual(["layout"]);
  expect(await readdir(join(path, "blobs/sha256"))).toHaveLength(4);
});

test("every name has an entry, which finds the image by tag, by name, or with neither", async () => {
  const image = small();
  const path = join(root, "named");
  const names = ["example.com/app:v1", "busybox:v2"].map(parseReference);
  await writeOciLayout(path, image, names, signal);
  const { manifests } = (await json(path, "index.json")) as {
    manifests: { annotations: object }[];
  };
  expect(manifests.map(({ annotations }) => annotations)).toEqual([
    {
      "io.containerd.image.name": "example.com/app:v1",
      "org.opencontainers.image.ref.name": "v1",
    },
    {
      "io.containerd.image.name": "docker.io/library/busybox:v2",
      "org.opencontainers.image.ref.name": "v2",
    },
  ]);
  const layout = await openOciLayout(path, signal);
  const platform = { os: "linux", architecture: "amd64" };
  for (const name of [undefined, "v1", "v2", "docker.io/library/busybox:v2"]) {
    const { descriptor } = await layout.resolve(name, platform, signal);
    expect(descriptor.digest).toBe(image.manifest.descriptor.digest);
  }
  for (const tag of ["v1", "v2"]) {
    const inspected = execFileSync("skopeo", ["inspect", `oci:${path}:${tag}`], {
      encoding: "utf8",
    });
    expect(JSON.parse(inspected)).toMatchObject({ Digest: image.manifest.descriptor.digest });
  }
});

test("without a tag the image has no name", async () => {
  const path = join(root, "layout/");
  await writeOciLayout(path, small(), [], signal);
  expect(JSON.stringify(await json(path, "index.json"))).not.toContain("ref.name");
});

test.each(["an empty directory", "a directory with lost+found", "a symlink to an empty one"])(
  "%s takes a layout",
  async (kind) => {
    const [path, image] = [join(root, "layout"), small()];
    if (kind.startsWith("a symlink")) {
      await mkdir(join(root, "real"));
      await symlink("real", path);
    } else await mkdir(path);
    if (kind.includes("lost")) await mkdir(join(path, "lost+found"));
    await writeOciLayout(path, image, [], signal);
    await expectWhole(path, image);
  },
);

test("an existing layout has only the new image afterwards, and good blobs are not written again", async () => {
  const path = join(root, "layout");
  await writeOciLayout(path, small(), [parseReference("a:old")], signal);
  const image = {
    ...small(),
    layers: small().layers.map(({ descriptor }) => ({
      descriptor,
      open: () => {
        throw new Error("it was read again");
      },
    })),
  };
  await writeOciLayout(path, image, [parseReference("a:new")], signal);
  await expectWhole(path, image);
  expect(JSON.stringify(await json(path, "index.json"))).toContain('"new"');
});

test("a damaged blob in an existing layout is replaced", async () => {
  const [path, image] = [join(root, "layout"), small()];
  await writeOciLayout(path, image, [], signal);
  const [layer] = image.layers;
  const blob = join(path, "blobs/sha256", hexOf(layer!.descriptor.digest));
  await writeFile(blob, Buffer.alloc(layer!.descriptor.size));
  await writeOciLayout(path, image, [], signal);
  await expectWhole(path, image);
});

test("a damaged source leaves no new layout, and the old one as it was", async () => {
  const path = join(root, "layout");
  const error = await errorOf(writeOciLayout(path, damaged(small()), [], signal));
  expect(error.code).toBe("STORE_FAILED");
  expect(await readdir(root)).toEqual([]);

  const old = outputImage([tarOf({ old: "" })], "oci");
  await writeOciLayout(path, old, [], signal);
  const before = await readdir(path, { recursive: true });
  await errorOf(writeOciLayout(path, damaged(small()), [], signal));
  await expectWhole(path, old);
  expect((await readdir(path, { recursive: true })).toSorted()).toEqual(before.toSorted());

  const empty = join(root, "empty");
  await mkdir(empty);
  await errorOf(writeOciLayout(empty, damaged(small()), [], signal));
  expect(await readdir(empty)).toEqual([]);
});

test("an abort leaves nothing and rejects with its reason", async () => {
  const abort = new AbortController();
  const reason = new Error("stop");
  const image = small();
  const layers = image.layers.map(({ descriptor }) => ({
    descriptor,
    async *open(): AsyncGenerator<Uint8Array> {
      abort.abort(reason);
      yield Buffer.alloc(1);
    },
  }));
  const work = writeOciLayout(join(root, "layout"), { ...image, layers }, [], abort.signal);
  await expect(work).rejects.toBe(reason);
  expect(await readdir(root)).toEqual([]);
});

test("a directory with other files, and a file, are refused and left alone", async () => {
  await writeFile(join(root, "precious"), "x");
  const error = await errorOf(writeOciLayout(root, small(), [], signal));
  expect(error.message).toContain("holds other files");
  expect(error.hint).toContain("OCI layout");
  expect(await readdir(root)).toEqual(["precious"]);
  const file = await errorOf(writeOciLayout(join(root, "precious"), small(), [], signal));
  expect(file.message).toContain("is not a directory");
  await writeFile(join(root, "oci-layout"), '{"imageLayoutVersion":"9.0.0"}');
  const version = await errorOf(writeOciLayout(root, small(), [], signal));
  expect(version.message).toContain("does not say version 1.0.0");
});

test("what a killed build left beside the layout is deleted by the next one", async () => {
  const path = join(root, "layout");
  await writeOciLayout(path, small(), [], signal);
  const living = basename(temporarySibling(path));
  const dead = living.replace(`.${process.pid}.`, ".4194301.");
  expect(dead).not.toBe(living);
  await mkdir(join(root, living));
  await mkdir(join(root, dead, "blobs"), { recursive: true });
  await rm(path, { recursive: true });
  await writeOciLayout(path, small(), [], signal);
  expect((await readdir(root)).toSorted()).toEqual([living, "layout"].toSorted());
});

describe("a layout as a source", () => {
  test("gives manifest, config and layers as they were written", async () => {
    const image = small();
    await writeOciLayout(root, image, [parseReference("app:v1")], signal);
    const layout = await openOciLayout(root, signal);
    for (const name of [undefined, "v1", image.manifest.descriptor.digest]) {
      const found = await layout.resolve(name, AMD64, signal);
      expect(Buffer.from(found.bytes)).toEqual(Buffer.from(image.manifest.bytes));
      const manifest = parseManifest(found.bytes, found.descriptor.mediaType);
      const config = await layout.read(manifest.config, signal);
      expect(parseConfig(config).config.cmd).toEqual(["/bin/true"]);
      for (const layer of manifest.layers) {
        const hash = createHash("sha256");
        for await (const chunk of layout.open(layer, signal)) hash.update(chunk);
        expect(`sha256:${hash.digest("hex")}`).toBe(layer.digest);
      }
    }
  });

  test("says which names there are when one is absent", async () => {
    await writeOciLayout(root, small(), [parseReference("app:v1")], signal);
    const layout = await openOciLayout(root, signal);
    const error = await errorOf(layout.resolve("v2", AMD64, signal));
    expect(error.code).toBe("CONTEXT_UNREADABLE");
    expect(error.message).toContain('"v2"');
    expect(error.hint).toBe("it has v1");
    const digest = await errorOf(layout.resolve(digestOf("x"), AMD64, signal));
    expect(digest.message).toContain(digestOf("x"));
  });

  test("follows an index to the platform", async () => {
    const image = small();
    await writeOciLayout(root, image, [], signal);
    const entries = [
      { ...image.config.descriptor, platform: { os: "linux", architecture: "s390x" } },
      { ...image.manifest.descriptor, platform: AMD64 },
      { ...image.config.descriptor, platform: { os: "unknown", architecture: "unknown" } },
    ];
    const nested = serializeIndex("oci", entries);
    await writeFile(join(root, "blobs/sha256", hexOf(nested.descriptor.digest)), nested.bytes);
    const top = serializeIndex("oci", [nested.descriptor]);
    await writeFile(join(root, "index.json"), top.bytes);
    const layout = await openOciLayout(root, signal);
    const found = await layout.resolve(undefined, AMD64, signal);
    expect(found.descriptor.digest).toBe(image.manifest.descriptor.digest);
    const error = await errorOf(
      layout.resolve(undefined, { os: "linux", architecture: "riscv64" }, signal),
    );
    expect(error.message).toContain("linux/riscv64");
  });

  test("notices damaged blobs", async () => {
    const image = small();
    await writeOciLayout(root, image, [], signal);
    const { descriptor } = image.manifest;
    const blob = join(root, "blobs/sha256", hexOf(descriptor.digest));
    await writeFile(blob, Buffer.alloc(descriptor.size));
    const layout = await openOciLayout(root, signal);
    const error = await errorOf(layout.resolve(undefined, AMD64, signal));
    expect(error.code).toBe("CONTEXT_UNREADABLE");
    expect(error.message).toContain("damaged");
    await rm(blob);
    expect((await errorOf(layout.resolve(undefined, AMD64, signal))).message).toContain("ENOENT");
  });

  test.each([
    ["is absent", {}],
    ["has no index.json", { "oci-layout": '{"imageLayoutVersion":"1.0.0"}' }],
    [
      "has a damaged index.json",
      { "oci-layout": '{"imageLayoutVersion":"1.0.0"}', "index.json": "{" },
    ],
    ["is of another version", { "oci-layout": '{"imageLayoutVersion":"2.0.0"}' }],
  ])("that %s is an error with its path", async (_, files) => {
    for (const [name, text] of Object.entries(files)) await writeFile(join(root, name), text);
    const error = await errorOf(openOciLayout(root, signal));
    expect(error.code).toBe("CONTEXT_UNREADABLE");
    expect(error.message).toContain(root);
  });
});

describe.skipIf(!hasTool("skopeo"))("skopeo (skipped where it is not installed)", () => {
  test.each(["oci", "docker"] as const)(
    "reads and copies a layout in %s format",
    async (format) => {
      const image = outputImage([tarOf({ "a/one": "1" }), tarOf({ two: "2" })], format);
      const path = join(root, "layout");
      await writeOciLayout(path, image, [parseReference("app:v1")], signal);
      // skopeo finds a name only on OCI manifests; the only image of a layout needs none.
      const sources = format === "oci" ? [`oci:${path}`, `oci:${path}:v1`] : [`oci:${path}`];
      for (const source of sources) {
        const inspected = JSON.parse(
          execFileSync("skopeo", ["inspect", source], { encoding: "utf8" }),
        ) as { Digest: string; Labels: unknown };
        expect(inspected.Digest).toBe(image.manifest.descriptor.digest);
        expect(inspected.Labels).toEqual({ a: "b" });
      }
      execFileSync("skopeo", ["copy", `oci:${path}`, `dir:${root}/copy`], { stdio: "ignore" });
      const manifest = await readFile(join(root, "copy/manifest.json"));
      expect(digestOf(manifest)).toBe(image.manifest.descriptor.digest);
    },
  );
});

test.skipIf(!hasTool("umoci"))(
  "umoci unpacks a layout (skipped where it is not installed)",
  async () => {
    const path = join(root, "layout");
    await writeOciLayout(path, small(), [parseReference("app:v1")], signal);
    execFileSync(
      "umoci",
      ["raw", "unpack", "--rootless", "--image", `${path}:v1`, join(root, "fs")],
      { stdio: "ignore" },
    );
    expect(await readFile(join(root, "fs/a/one"), "utf8")).toBe("1");
    expect(await readFile(join(root, "fs/two"), "utf8")).toBe("2");
  },
);
