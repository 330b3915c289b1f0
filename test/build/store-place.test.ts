import { chmod, chown, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findStorePlace } from "../../src/build/store-place.js";
import { lacksRoot, tempDir } from "../support/tools.js";

test("the store is where it is asked for, then where TSBUILD_STORE says, and neither is made or changed for that", async () => {
  await using dir = await tempDir();
  const environment = { TSBUILD_STORE: join(dir.path, "named"), HOME: dir.path };
  const given = join(dir.path, "given");
  expect(await findStorePlace(given, environment)).toEqual({ directory: given });
  const { TSBUILD_STORE: directory } = environment;
  expect(await findStorePlace(undefined, environment)).toEqual({ directory });
  expect(await readdir(dir.path)).toEqual([]);
});

test("the cache's directory comes before the home, and is for its owner alone", async () => {
  await using dir = await tempDir();
  const environment = { XDG_CACHE_HOME: join(dir.path, "cache"), HOME: join(dir.path, "home") };
  const found = await findStorePlace(undefined, environment);
  expect(found).toEqual({ directory: join(dir.path, "cache/tsbuild") });
  expect((await stat(found.directory)).mode & 0o777).toBe(0o700);
  expect(await readdir(found.directory)).toEqual([]);
});

test("a home that cannot be written to is passed over, with a word of it", async () => {
  await using dir = await tempDir();
  const home = join(dir.path, "home");
  await writeFile(home, "no directory");
  const kaniko = join(dir.path, "kaniko");
  await mkdir(kaniko);
  const environment = { HOME: home, KANIKO_DIR: kaniko, TMPDIR: dir.path };
  const found = await findStorePlace(undefined, environment);
  expect(found.directory).toBe(join(kaniko, "store"));
  expect(found.notice).toContain(`the store is at ${kaniko}/store (${home}/.cache/tsbuild: `);
  expect(found.notice).toContain("--store or TSBUILD_STORE names another place");
});

test("a builder's directory that is not there is not made", async () => {
  await using dir = await tempDir();
  const kaniko = join(dir.path, "kaniko");
  const found = await findStorePlace(undefined, { KANIKO_DIR: kaniko, TMPDIR: dir.path });
  expect(found.directory).toBe(join(dir.path, `tsbuild-${process.geteuid?.()}`));
  await expect(stat(kaniko)).rejects.toMatchObject({ code: "ENOENT" });
});

test.skipIf(lacksRoot() !== undefined)(
  "a directory that somebody else put where everybody writes is not taken, and without another the build says so",
  async () => {
    await using dir = await tempDir();
    const planted = join(dir.path, "tsbuild-0");
    await mkdir(planted);
    await chmod(planted, 0o777);
    await chown(planted, 1234, 1234);
    const place = findStorePlace(undefined, { KANIKO_DIR: "/nonexistent", TMPDIR: dir.path });
    await expect(place).rejects.toMatchObject({ code: "USAGE" });
    await expect(place).rejects.toThrow(`${planted}: it belongs to somebody else`);
  },
);
