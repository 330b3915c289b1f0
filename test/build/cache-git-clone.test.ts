/** What continuous integration does: each time another clone, whose files have new times and inodes. */
import { execFileSync } from "node:child_process";
import {
  appendFile,
  chmod,
  lutimes,
  mkdir,
  readdir,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { start, type BuildOptions } from "../../src/index.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, tempDir, type TempDir } from "../support/tools.js";

const STEPS = ["COPY package.json /app/", "COPY . /app", "COPY --exclude=*.md src docs /other/"];
const IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];

let dir: TempDir;
beforeEach(async () => {
  dir = await tempDir();
});
afterEach(() => dir[Symbol.asyncDispose]());

function git(directory: string, ...args: readonly string[]): void {
  const environment = { PATH: process.env["PATH"], GIT_CONFIG_GLOBAL: "/dev/null" };
  const env = { ...environment, GIT_CONFIG_NOSYSTEM: "1" };
  execFileSync("git", ["-C", directory, ...IDENTITY, ...args], { env, stdio: "pipe" });
}

/** A repository with a file of each type that git knows, committed. */
async function repository(): Promise<string> {
  const path = join(dir.path, "repository");
  for (const name of ["src/deep", "docs"]) await mkdir(join(path, name), { recursive: true });
  const files = {
    Dockerfile: `FROM scratch\n${STEPS.join("\n")}\n`,
    ".dockerignore": ".git\n*.log\n",
    "package.json": "{}",
    "src/run.sh": "#!/bin/sh\n",
    "src/deep/empty": "",
    "docs/read.md": "# read\n",
    "docs/notes.txt": "notes\n",
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  await chmod(join(path, "src/run.sh"), 0o755);
  await symlink("deep/empty", join(path, "src/link"));
  git(path, "init", "-q");
  git(path, "add", "-A");
  git(path, "commit", "-qm", "all");
  return path;
}

async function clone(from: string, name: string): Promise<string> {
  const path = join(dir.path, name);
  git(dir.path, "clone", "-q", "--no-hardlinks", from, path);
  return path;
}

/** Gives every file and directory another time. */
async function touch(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true })) {
    const file = join(entry.parentPath, entry.name);
    const set = entry.isSymbolicLink() ? lutimes : utimes;
    await set(file, new Date(), new Date(Date.now() - 86_400_000));
  }
  await utimes(path, new Date(), new Date());
}

async function build(
  context: string,
  more: Partial<BuildOptions> = {},
): Promise<{ readonly digest: string; readonly cached: string[]; readonly made: string[] }> {
  const store = join(dir.path, "store");
  await using running = start({ context, push: false, store, ...more });
  const texts = new Map<string, string>();
  const [cached, made]: [string[], string[]] = [[], []];
  for await (const event of running.events) {
    if (event.type === "step-start") texts.set(event.step, event.text);
    if (!("step" in event)) continue;
    const text = texts.get(event.step) ?? "";
    if (event.type === "step-cached") cached.push(text);
    if (event.type === "step-done" && event.layer !== undefined) made.push(text);
  }
  return { digest: (await running.result).image.digest, cached, made };
}

describeUnless([lacksTools("git")], "a repository that was cloned", () => {
  test("is known again after touch, and as another clone at the same and at another place", async () => {
    const origin = await repository();
    const first = await clone(origin, "first");
    const { digest, cached, made } = await build(first);
    expect({ cached, made }).toEqual({ cached: [], made: STEPS });
    const same = { digest, cached: STEPS, made: [] };
    expect(await build(first)).toEqual(same);

    await touch(first);
    expect(await build(first)).toEqual(same);
    // By what is known of the new times now.
    expect(await build(first)).toEqual(same);

    const second = await clone(origin, "second");
    expect(await build(second)).toEqual(same);
    await rm(first, { recursive: true });
    expect(await build(await clone(origin, "first"))).toEqual(same);
  });

  test("is made anew for a commit that changes a file, from the step that reads it on", async () => {
    const origin = await repository();
    const { digest } = await build(await clone(origin, "first"));
    await appendFile(join(origin, "docs/notes.txt"), "more\n");
    git(origin, "commit", "-qam", "notes");
    const changed = await build(await clone(origin, "second"));
    expect(changed.cached).toEqual(STEPS.slice(0, 1));
    expect(changed.made).toEqual(STEPS.slice(1));
    expect(changed.digest).not.toBe(digest);
    git(origin, "revert", "-n", "HEAD");
    git(origin, "commit", "-qm", "back");
    expect(await build(await clone(origin, "third"))).toMatchObject({ digest, cached: STEPS });
  });

  test("gives the same image to the bit without a cache, when it is to be reproducible", async () => {
    const origin = await repository();
    const fresh = { cache: false, reproducible: true };
    const { digest } = await build(await clone(origin, "first"), fresh);
    const second = await clone(origin, "second");
    await touch(second);
    expect((await build(second, fresh)).digest).toBe(digest);
  });
});
