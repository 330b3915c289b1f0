/** The executor image, built once by this checkout, and the plain Debian that it is built from. */
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { bootstrapSuite } from "./bases-debian.js";
import { cached, writeLayout } from "./bases.js";
import { mustRun, tempDir } from "./tools.js";

const SUITE = "trixie";
const HERE = "deploy/executor";
/** Everything that the image is made of, besides Debian. */
const BUNDLING = ["scripts/build.mjs", "scripts/make-code.cjs", "scripts/wasm-module.mjs"];
const SOURCES = [HERE, "src", "bin", ...BUNDLING, "package.json", "package-lock.json"];
const LOCKS = [`${HERE}/npm-install`, `${HERE}/package-lock.json`, "package-lock.json"];

/** A layout of what `debian:trixie-slim` is, able to reach the package mirror that this machine uses. */
export function executorBase(): Promise<string> {
  return cached(`debian-${SUITE}`, async (dir) => {
    const archive = join(dir, "debian.tar");
    await bootstrapSuite(dir, archive, { suite: SUITE });
    const layer = await readFile(archive);
    await rm(archive);
    await writeLayout(dir, { layers: [layer], cmd: ["bash"] });
  });
}

/** What npm gives for the image, as the stage `packages` of the Dockerfile has it, but without Debian's large npm. */
export async function executorPackages(checkout: string): Promise<string> {
  const key = await contentKey(checkout, LOCKS);
  return cached(`executor-packages-${key}`, async (dir) => {
    for (const [name, from] of [
      ["app", "."],
      ["tools", HERE],
    ] as const) {
      await mkdir(join(dir, name));
      for (const file of ["package.json", "package-lock.json"]) {
        await cp(join(checkout, from, file), join(dir, name, file));
      }
    }
    await mustRun(join(checkout, HERE, "npm-install"), ["app", "tools"], { cwd: dir });
  });
}

/** The layout of the image, built by `checkout` and its `dist` unless one of the same sources is there. */
export async function executorImage(checkout: string): Promise<string> {
  const [base, packages] = await Promise.all([executorBase(), executorPackages(checkout)]);
  return cached(`executor-${await contentKey(checkout, SOURCES)}`, async (layout) => {
    await using store = await tempDir("tsbuild-executor-store-");
    await mustRun(process.execPath, [
      join(checkout, "scripts/image.mjs"),
      ...imageFlags({ base, packages }),
      `--oci-layout-path=${layout}`,
      "--no-push",
      `--store=${store.path}`,
    ]);
  });
}

/** The layout of the target debug: what it adds, upon the image of {@link executorImage}. */
export async function debugImage(checkout: string): Promise<string> {
  const [debian, base] = await Promise.all([executorBase(), executorImage(checkout)]);
  return cached(`executor-debug-${await contentKey(checkout, SOURCES)}`, async (layout) => {
    await using store = await tempDir("tsbuild-executor-store-");
    await mustRun(process.execPath, [
      join(checkout, "scripts/image.mjs"),
      "debug",
      "--build-arg=DEBIAN=debian-base",
      `--build-context=debian-base=oci-layout://${debian}`,
      `--build-context=base=oci-layout://${base}`,
      `--oci-layout-path=${layout}`,
      "--no-push",
      `--store=${store.path}`,
    ]);
  });
}

/** What `scripts/image.mjs` or an executor needs to build the image from what is at hand. */
export function imageFlags({ base, packages }: Record<"base" | "packages", string>): string[] {
  return [
    "--build-arg=DEBIAN=debian-base",
    `--build-context=debian-base=oci-layout://${base}`,
    `--build-context=packages=${packages}`,
  ];
}

async function contentKey(checkout: string, paths: readonly string[]): Promise<string> {
  const hash = createHash("sha256").update(process.arch);
  for (const path of paths) {
    const below = await readdir(join(checkout, path), { recursive: true, withFileTypes: true })
      .then((entries) => entries.filter((each) => each.isFile()))
      .then((files) => files.map((file) => join(file.parentPath, file.name)).sort())
      .catch(() => [join(checkout, path)]);
    for (const file of below) {
      const bytes = await readFile(file);
      hash.update(`${file.slice(checkout.length)} ${bytes.length}\n`).update(bytes);
    }
  }
  return hash.digest("hex").slice(0, 12);
}
