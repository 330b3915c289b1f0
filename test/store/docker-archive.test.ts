import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { digestOf, hexOf } from "../../src/oci/digest.js";
import { type OutputImage, writeDockerArchive } from "../../src/store/index.js";
import { hasTool, outputImage, tarOf } from "./images.js";

const { signal } = new AbortController();
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-archive-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function errorOf(work: Promise<unknown>): Promise<TsbuildError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TsbuildError);
  return error as TsbuildError;
}

function withFirstLayer(image: OutputImage, open: () => AsyncIterable<Uint8Array>): OutputImage {
  const [first, ...others] = image.layers;
  if (first === undefined) throw new Error("the image has no layers");
  return { ...image, layers: [{ ...first, open }, ...others] };
}

test("the archive is a tar of config, layers as they are, and a manifest that names them", async () => {
  const tar = tarOf({ big: "x".repeat(700_000) });
  const image = outputImage([tar, tarOf({ two: "2" }), tar], "docker");
  const path = join(root, "new/image.tar");
  await writeDockerArchive(path, image, ["app:v1", "example.com:5000/app:v2"], signal);
  expect(await readdir(join(root, "new"))).toEqual(["image.tar"]);
  const names = image.layers.map((layer) => `${hexOf(layer.descriptor.digest)}.tar.gz`);
  const config = `${hexOf(image.config.descriptor.digest)}.json`;
  const listed = execFileSync("tar", ["-tf", path], { encoding: "utf8" }).trim().split("\n");
  expect(listed).toEqual([config, names[0], names[1], "manifest.json"]);
  execFileSync("tar", ["-xf", path, "-C", root]);
  expect(JSON.parse(await readFile(join(root, "manifest.json"), "utf8"))).toEqual([
    { Config: config, RepoTags: ["app:v1", "example.com:5000/app:v2"], Layers: names },
  ]);
  expect(digestOf(await readFile(join(root, config)))).toBe(image.config.descriptor.digest);
  for (const [index, name] of names.entries()) {
    const bytes = await readFile(join(root, name));
    expect(digestOf(bytes)).toBe(image.layers[index]?.descriptor.digest);
  }
});

test("the same image gives the same archive", async () => {
  const image = outputImage([tarOf({ a: "1" })], "docker");
  for (const name of ["one", "two"]) await writeDockerArchive(join(root, name), image, [], signal);
  const [one, two] = [await readFile(join(root, "one")), await readFile(join(root, "two"))];
  expect(one.equals(two)).toBe(true);
});

test("an image without layers is an archive too", async () => {
  const path = join(root, "image.tar");
  await writeDockerArchive(path, outputImage([], "docker"), ["a:b"], signal);
  expect(execFileSync("tar", ["-xOf", path, "manifest.json"], { encoding: "utf8" })).toContain(
    '"Layers":[]',
  );
});

test("a zstd layer is refused before anything is written", async () => {
  const image = outputImage([tarOf({ a: "1" })], "oci");
  const layers = image.layers.map(({ descriptor, open }) => ({
    open,
    descriptor: { ...descriptor, mediaType: descriptor.mediaType.replace("gzip", "zstd") },
  }));
  const error = await errorOf(
    writeDockerArchive(join(root, "new/image.tar"), { ...image, layers }, [], signal),
  );
  expect(error.code).toBe("USAGE");
  expect(error.hint).toContain("--oci-layout-path");
  expect(await readdir(root)).toEqual([]);
});

test.each(["fewer", "more", "other"])(
  "%s bytes than announced leave the old file",
  async (kind) => {
    const path = join(root, "image.tar");
    await writeFile(path, "old");
    const image = outputImage([tarOf({ a: "1".repeat(500_000) })], "docker", "none");
    const size = image.layers[0]?.descriptor.size ?? 0;
    const length = kind === "fewer" ? size - 1 : kind === "more" ? size + 1 : size;
    const bad = withFirstLayer(image, async function* () {
      yield Buffer.alloc(length);
    });
    const error = await errorOf(writeDockerArchive(path, bad, [], signal));
    expect(error.code).toBe("STORE_FAILED");
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(root)).toEqual(["image.tar"]);
  },
);

test("an error of a source, and an abort, pass through and leave nothing", async () => {
  const image = outputImage([tarOf({ a: "1".repeat(500_000) })], "docker", "none");
  const failure = new Error("connection reset");
  const failing = withFirstLayer(image, async function* () {
    yield Buffer.alloc(100_000);
    throw failure;
  });
  await expect(writeDockerArchive(join(root, "a"), failing, [], signal)).rejects.toBe(failure);
  const abort = new AbortController();
  const aborting = withFirstLayer(image, async function* () {
    yield Buffer.alloc(100_000);
    abort.abort(failure);
    yield Buffer.alloc(100_000);
  });
  await expect(writeDockerArchive(join(root, "a"), aborting, [], abort.signal)).rejects.toBe(
    failure,
  );
  expect(await readdir(root)).toEqual([]);
});

test("a full device ends the archive with a hint, whatever the source still has", async () => {
  const image = outputImage([tarOf({ a: "1".repeat(3_000_000) })], "docker", "none");
  const error = await errorOf(writeDockerArchive("/dev/full", image, [], signal));
  expect(error.code).toBe("STORE_FAILED");
  expect(error.message).toContain("/dev/full");
  expect(error.hint).toContain("free space");
});

test("a directory in the archive's place is refused", async () => {
  await mkdir(join(root, "image.tar"));
  const image = outputImage([], "docker");
  const error = await errorOf(writeDockerArchive(join(root, "image.tar"), image, [], signal));
  expect(error.message).toContain("is a directory");
});

test.skipIf(!hasTool("skopeo")).each([
  ["docker", "gzip"],
  ["docker", "none"],
  ["oci", "gzip"],
] as const)(
  "skopeo reads an archive of a %s image with %s layers (skipped where it is not installed)",
  async (format, compression) => {
    const tar = tarOf({ "a/one": "1" });
    const image = outputImage([tar, tarOf({ two: "2" }), tar], format, compression);
    const path = join(root, "image.tar");
    await writeDockerArchive(path, image, ["app:v1", "app:v2"], signal);
    const inspect = ["inspect", "--config", "--raw", `docker-archive:${path}:app:v2`];
    expect(digestOf(execFileSync("skopeo", inspect))).toBe(image.config.descriptor.digest);
    const copy = ["copy", `docker-archive:${path}`, `oci:${root}/copy:v1`];
    execFileSync("skopeo", copy, { stdio: "ignore" });
    const again = ["inspect", "--config", "--raw", `oci:${root}/copy:v1`];
    const config = JSON.parse(execFileSync("skopeo", again, { encoding: "utf8" })) as unknown;
    expect(config).toMatchObject({ rootfs: { diff_ids: { length: 3 } } });
  },
);
