import { randomBytes } from "node:crypto";
import { lstatSync } from "node:fs";
import { cp, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../errors.js";
import { NEEDS_MORE } from "./git-kept.js";
import { git, gitFailure, runGit, type GitSetting } from "./git-process.js";

/** Submodules of so many commits are kept for each repository; they are what grows. */
const MAX_KEPT = 4;

/**
 * Checks the submodules of a checkout out, recursively. Their repositories are kept by the commit that pins them, so that
 * nothing is asked for when it is built again.
 * @param directory what is kept of the repository
 */
export async function updateSubmodules(
  setting: GitSetting,
  commit: string,
  directory: string,
): Promise<void> {
  const modules = join(setting.cwd, ".git", "modules");
  const kept = join(directory, "modules", commit);
  const update = ["submodule", "--quiet", "update", "--init", "--recursive"];
  if (await restore(kept, modules)) {
    const result = await runGit([...update, "--depth=1"], setting);
    if (result.code === 0) return;
    // What is kept may be damaged.
    await rm(kept, { recursive: true, force: true });
    await startOver(setting, modules);
  }
  const result = await runGit([...update, "--depth=1"], setting);
  if (result.code !== 0) {
    if (!NEEDS_MORE.test(result.stderr)) throw gitFailure(result, setting);
    // What was fetched so far is shallow, and would stay it.
    await startOver(setting, modules);
    await git(update, setting);
  }
  await keep(modules, kept);
}

export function hasSubmodules(path: string): boolean {
  return lstatSync(join(path, ".gitmodules"), { throwIfNoEntry: false }) !== undefined;
}

async function startOver(setting: GitSetting, modules: string): Promise<void> {
  await git(["submodule", "--quiet", "deinit", "--all", "--force"], setting);
  await rm(modules, { recursive: true, force: true });
}

/** Copies, and shares nothing with what is kept: times and modes of the copy change. */
async function restore(kept: string, modules: string): Promise<boolean> {
  try {
    await cp(kept, modules, { recursive: true, verbatimSymlinks: true, errorOnExist: true });
    return true;
  } catch (error) {
    await rm(modules, { recursive: true, force: true });
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

async function keep(modules: string, kept: string): Promise<void> {
  if (lstatSync(modules, { throwIfNoEntry: false }) === undefined) return;
  const parent = join(kept, "..");
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const copy = join(parent, `new-${randomBytes(6).toString("hex")}`);
  try {
    await cp(modules, copy, { recursive: true, verbatimSymlinks: true });
    await rename(copy, kept);
  } catch (error) {
    await rm(copy, { recursive: true, force: true });
    // Another build has kept the same.
    if (errnoOf(error) !== "ENOTEMPTY" && errnoOf(error) !== "EEXIST") throw error;
  }
  await forgetOldest(parent);
}

async function forgetOldest(parent: string): Promise<void> {
  const all = await Promise.all(
    (await readdir(parent)).map(async (name) => {
      const path = join(parent, name);
      return { path, time: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0 };
    }),
  );
  const old = all.toSorted((a, b) => b.time - a.time).slice(MAX_KEPT);
  for (const { path } of old) await rm(path, { recursive: true, force: true });
}
