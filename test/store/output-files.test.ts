import { execFileSync, spawnSync } from "node:child_process";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { openOutputFile, writeTextFile } from "../../src/store/index.js";
import { bundleScript } from "./child.js";

let base: string;
let root: string;
let script: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "tsbuild-output-"));
  script = bundleScript(
    `import { writeTextFile } from "./src/store/output-files.ts";
     await writeTextFile(process.argv[2], process.argv[3]);`,
    base,
  );
});
beforeEach(async () => {
  root = await mkdtemp(join(base, "test-"));
});
afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});

test("a new file appears whole, with its directories, and nothing beside it", async () => {
  await writeTextFile(join(root, "a/b/digest"), "sha256:abc");
  expect(await readFile(join(root, "a/b/digest"), "utf8")).toBe("sha256:abc");
  expect(await readdir(join(root, "a/b"))).toEqual(["digest"]);
  expect((await stat(join(root, "a/b/digest"))).mode & 0o444).toBe(0o444);
});

test("an existing file is replaced and keeps its mode, a symlink to it stays", async () => {
  await writeFile(join(root, "real"), "a longer text than the new one");
  await chmod(join(root, "real"), 0o640);
  await symlink("real", join(root, "link"));
  await writeTextFile(join(root, "link"), "new");
  expect((await lstat(join(root, "link"))).isSymbolicLink()).toBe(true);
  expect(await readFile(join(root, "real"), "utf8")).toBe("new");
  expect((await stat(join(root, "real"))).mode & 0o777).toBe(0o640);
});

test("a file that is given up leaves what was there", async () => {
  await writeFile(join(root, "file"), "old");
  {
    await using output = await openOutputFile(join(root, "file"), "a file");
    await output.write(Buffer.from("half"));
  }
  expect(await readFile(join(root, "file"), "utf8")).toBe("old");
  expect(await readdir(root)).toEqual(["file"]);
});

test("a pipe is written to, not replaced", async () => {
  const path = join(root, "pipe");
  execFileSync("mkfifo", [path]);
  const [read] = await Promise.all([readFile(path, "utf8"), writeTextFile(path, "text")]);
  expect(read).toBe("text");
  expect((await lstat(path)).isFIFO()).toBe(true);
});

test.each(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])(
  "%s works for a pipe, and does not truncate a redirected file",
  async (path) => {
    const piped = spawnSync(process.execPath, [script, path, "text"], { encoding: "utf8" });
    expect(piped.stdout).toBe("text");
    const log = join(root, "log");
    const command = `echo before > ${log}; "$0" "$@" >> ${log}; echo after >> ${log}`;
    spawnSync("sh", ["-c", command, process.execPath, script, path, "text\n"]);
    expect(await readFile(log, "utf8")).toBe("before\ntext\nafter\n");
  },
);

test("a file that is a mount of its own is written in place", async (context) => {
  const path = join(root, "termination-log");
  await writeFile(path, "old and longer");
  const inside = `mount --bind ${path} ${path} && "$0" "$@"`;
  const options = { encoding: "utf8" } as const;
  const args = ["-m", "sh", "-c", inside, process.execPath, script, path, "new"];
  const run = spawnSync("unshare", args, options);
  if (/unshare|mount:/.test(run.stderr)) {
    context.skip(`needs a mount namespace: ${run.stderr.trim()}`);
  }
  expect(run.stderr).toBe("");
  expect(await readFile(path, "utf8")).toBe("new");
  expect(await readdir(root)).toEqual(["termination-log"]);
});

test("a full disk is an error with the path and a hint", async () => {
  const error: unknown = await writeTextFile("/dev/full", "x", "the digest file").catch(
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TsbuildError);
  expect(error).toMatchObject({
    code: "STORE_FAILED",
    hint: expect.stringContaining("free space"),
  });
  expect((error as TsbuildError).message).toMatch(/write the digest file at \/dev\/full: ENOSPC/);
});

test("a directory in its place is an error", async () => {
  await mkdir(join(root, "digest"));
  await expect(writeTextFile(join(root, "digest"), "x")).rejects.toThrow("is a directory");
});
