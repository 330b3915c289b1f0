import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { TsbuildError } from "../errors.js";
import type { KeptCommit } from "./git-kept.js";
import { hasSubmodules, updateSubmodules } from "./git-modules.js";
import { git, type GitSetting } from "./git-process.js";
import type { GitRef } from "./git-ref.js";
import type { ObjectFormat } from "./git-resolve.js";
import { findNonDirectory, settleTree } from "./git-tree.js";

export interface CheckoutOptions {
  readonly ref: GitRef;
  readonly keepGitDir: boolean;
  /** What the ref is called in a kept `.git`; absent: a commit alone is meant. */
  readonly name: string | undefined;
  readonly objectFormat: ObjectFormat;
  /** What is kept of the repository. */
  readonly kept: string;
}

/**
 * The files of a commit in the new directory `path`. Objects are read where they are kept.
 * @throws TsbuildError CONTEXT_UNREADABLE, also where what is kept is damaged
 */
export async function checkOutCommit(
  commit: KeptCommit,
  path: string,
  options: CheckoutOptions,
  outside: GitSetting,
): Promise<void> {
  const setting = { ...outside, cwd: path };
  await mkdir(path);
  await startRepository(commit, options, setting);
  await git(["checkout", "-q", "--detach", commit.commit, "--"], setting);
}

/**
 * Submodules, times and modes, and a `.git` that is gone, or has the objects of this one commit, whatever else is kept: it
 * does not tell of earlier builds.
 * @returns the files, or the subdir of them
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function finishCheckout(
  { commit }: KeptCommit,
  path: string,
  { ref, keepGitDir, kept }: CheckoutOptions,
  outside: GitSetting,
): Promise<string> {
  const setting = { ...outside, cwd: path };
  const modules = ref.submodules !== false && hasSubmodules(path);
  // Submodules with a relative URL are beside it.
  if (modules || keepGitDir) await git(["remote", "add", "--", "origin", ref.remote], setting);
  if (modules) await updateSubmodules(setting, commit, kept);
  const mtime = ref.mtime === "commit" ? await committedAt(commit, setting) : undefined;
  if (keepGitDir) await detach(setting);
  await settleTree(path, { removeGit: !keepGitDir, mtime, signal: setting.signal });
  return enter(path, ref.subdir ?? "", setting);
}

async function startRepository(
  { repository, commit, object }: KeptCommit,
  { objectFormat, name, keepGitDir }: CheckoutOptions,
  setting: GitSetting,
): Promise<void> {
  const init = ["init", "-q", "--template="];
  await git(objectFormat === "sha256" ? [...init, "--object-format=sha256"] : init, setting);
  const info = join(setting.cwd, ".git", "objects", "info");
  await mkdir(info, { recursive: true });
  await writeFile(join(info, "alternates"), `${join(repository, "objects")}\n`);
  const isFirst = keepGitDir && !(await hasParent(commit, setting));
  if (!isFirst) await writeFile(join(setting.cwd, ".git", "shallow"), `${commit}\n`);
  if (keepGitDir && name !== undefined) await git(["update-ref", "--", name, object], setting);
}

async function hasParent(commit: string, setting: GitSetting): Promise<boolean> {
  const text = await git(["cat-file", "commit", commit], setting);
  return /^parent /m.test(text.split("\n\n", 1)[0] ?? "");
}

/** Makes a repository one that needs no other. */
async function detach(setting: GitSetting): Promise<void> {
  await git(["repack", "-a", "-d", "-q", "-n"], setting);
  await rm(join(setting.cwd, ".git", "objects", "info", "alternates"));
  await rm(join(setting.cwd, ".git", "FETCH_HEAD"), { force: true });
}

/** Seconds since the epoch. */
async function committedAt(commit: string, setting: GitSetting): Promise<number> {
  const format = ["log", "-1", "--no-show-signature", "--format=%ct"];
  return Number((await git([...format, commit, "--"], setting)).trim());
}

/** Goes into the subdir by directories alone: a link may lead out of the checkout. */
function enter(root: string, subdir: string, setting: GitSetting): string {
  const wrong = findNonDirectory(root, subdir);
  if (wrong === undefined) return join(root, subdir);
  const shown = JSON.stringify(subdir);
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to fetch ${setting.shown}: git subpath ${shown} contains non-directory ${JSON.stringify(wrong)}`,
  );
}
