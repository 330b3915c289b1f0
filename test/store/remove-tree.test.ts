import { execFileSync, spawnSync } from "node:child_process";
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { removeTree } from "../../src/store/index.js";
import { bundleScript } from "./child.js";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-remove-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const SCRIPT = `import { removeTree } from "./src/store/index.ts";
  console.log(await removeTree(process.argv[2]));`;

test("everything in a directory goes; what its symlinks point to stays", async () => {
  const tree = join(root, "tree");
  await mkdir(join(tree, "a/b"), { recursive: true });
  await mkdir(join(root, "precious"));
  await writeFile(join(root, "precious/file"), "");
  await symlink(join(root, "precious"), join(tree, "a/link"));
  await symlink("nowhere", join(tree, "a/dangling"));
  execFileSync("mkfifo", [join(tree, "a/pipe")]);
  for (let n = 0; n < 100; n += 1) await writeFile(join(tree, "a/b", `${n}`), "");
  expect(await removeTree(tree)).toBe(true);
  expect(await readdir(root)).toEqual(["precious"]);
  expect(await readdir(join(root, "precious"))).toEqual(["file"]);
});

test("an absent directory is gone; a symlink in its place stays, and so does its target", async () => {
  expect(await removeTree(join(root, "absent"))).toBe(true);
  await mkdir(join(root, "target/inside"), { recursive: true });
  await symlink("target", join(root, "link"));
  expect(await removeTree(join(root, "link"))).toBe(false);
  expect(await readdir(join(root, "target"))).toEqual(["inside"]);
  expect((await lstat(join(root, "link"))).isSymbolicLink()).toBe(true);
});

test("a path that is longer than the kernel takes in one piece goes too", async () => {
  const tree = join(root, "tree");
  const make = `mkdir -p "$0" && cd -P "$0" && for i in $(seq 30); do mkdir ${"d".repeat(200)} && cd ${"d".repeat(200)} || exit 1; done`;
  execFileSync("bash", ["-c", make, tree]);
  expect(await removeTree(tree)).toBe(true);
  expect(await readdir(root)).toEqual([]);
});

test.skipIf(process.getuid?.() !== 0)(
  "without privileges, locked directories of one's own go, and others' entries stay (needs root to set up)",
  async () => {
    const [tree, script] = [join(root, "tree"), bundleScript(SCRIPT, root)];
    await mkdir(join(tree, "mine/locked"), { recursive: true });
    await writeFile(join(tree, "mine/locked/file"), "");
    await mkdir(join(tree, "others"));
    await writeFile(join(tree, "others/file"), "");
    for (const path of ["", "mine", "mine/locked", "mine/locked/file"]) {
      await chown(join(tree, path), 4242, 4242);
    }
    await chmod(join(tree, "mine/locked"), 0o000);
    await chmod(root, 0o755);
    const args = ["--reuid=4242", "--regid=4242", "--clear-groups", process.execPath, script, tree];
    expect(execFileSync("setpriv", args, { encoding: "utf8" })).toBe("false\n");
    expect(await readdir(tree, { recursive: true })).toEqual(["others", "others/file"]);
    await chown(join(tree, "others"), 4242, 4242);
    await chown(root, 4242, 4242);
    expect(execFileSync("setpriv", args, { encoding: "utf8" })).toBe("true\n");
    expect(await readdir(root)).not.toContain("tree");
  },
);

test("nothing is deleted while something is mounted inside", async (context) => {
  const [tree, script] = [join(root, "a tree"), bundleScript(SCRIPT, root)];
  await mkdir(join(tree, "mount"), { recursive: true });
  await mkdir(join(root, "precious"));
  await writeFile(join(root, "precious/file"), "");
  const inside = `mount --bind "${root}/precious" "${tree}/mount" && "$0" "$@"`;
  await symlink(root, join(root, "alias"));
  const alias = join(root, "alias/a tree");
  const args = ["-m", "sh", "-c", inside, process.execPath, script, alias];
  const run = spawnSync("unshare", args, { encoding: "utf8" });
  if (run.error || /unshare|mount:/.test(run.stderr)) {
    context.skip(`needs a mount namespace: ${run.stderr}`);
  }
  expect(run.stdout).toBe("false\n");
  expect(await readdir(join(root, "precious"))).toEqual(["file"]);
  expect(await removeTree(tree)).toBe(true);
});
