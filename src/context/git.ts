import { lstatSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, TsbuildError, unreachable } from "../errors.js";
import { openDirectory } from "./directory.js";
import { git, gitFailure, runGit, type GitSetting } from "./git-process.js";
import { isCommitId, showGitUrl, type GitCredentials, type GitRef } from "./git-ref.js";
import { resolveGitTarget, type GitTarget } from "./git-resolve.js";
import { findNonDirectory, settleTree } from "./git-tree.js";
import type { FileSource } from "./types.js";

export interface GitOptions {
  /** A new directory, which holds the checkout and is removed when it fails. */
  readonly directory: string;
  /** `--keep-git-dir`; the reference may say it instead. With a subdir there is none to keep. */
  readonly keepGitDir?: boolean;
  /** `--checksum`: the commit or its beginning; the reference may say it instead. */
  readonly checksum?: string;
  /** The program's own: git is found by its PATH, and reaches the network by its proxies, certificates and SSH agent. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** For the host of an http(s) URL; those in the URL come first. */
  readonly credentials?: GitCredentials;
  readonly signal: AbortSignal;
}

export interface GitCheckout {
  /** The files, or the subdir of them. */
  readonly path: string;
  /** The whole id, in hexadecimal digits. */
  readonly commit: string;
}

/** Servers answer so when they cannot give one commit alone: dumb http, old ones, those that hide what is not a ref. */
const NEEDS_MORE = /shallow|--depth|dumb http|not our ref|unadvertised object|no such remote ref/i;
const MIN_CHECKSUM = 7;

/**
 * Fetches a repository with the `git` program and checks a commit out. Nothing in the repository runs, nothing outside
 * of `directory` is read or written; modes are those of umask 022.
 * @throws TsbuildError DOCKERFILE_INVALID for options that contradict the reference, CONTEXT_UNREADABLE
 */
export async function fetchGit(ref: GitRef, options: GitOptions): Promise<GitCheckout> {
  const { signal } = options;
  const wanted = merge(ref, options);
  const shown = showGitUrl(ref.remote);
  const setting: GitSetting = {
    cwd: options.directory,
    home: options.directory,
    shown,
    environment: options.environment ?? {},
    access: accessTo(ref, options.credentials),
    signal,
  };
  signal.throwIfAborted();
  await mkdir(options.directory, { mode: 0o700 });
  try {
    return await checkOut(ref, wanted, setting);
  } catch (error) {
    await rm(options.directory, { recursive: true, force: true });
    if (error instanceof TsbuildError || signal.aborted) throw error;
    const why = errnoOf(error) === "ENOSPC" ? "the disk is full" : messageOf(error);
    throw new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${shown}: ${why}`, {
      cause: error,
    });
  }
}

/**
 * A repository as a source of ADD; disposing it removes the directory.
 * @throws TsbuildError as `fetchGit` does
 */
export async function openGit(ref: GitRef, options: GitOptions): Promise<FileSource> {
  const { path } = await fetchGit(ref, options);
  const remove = (): Promise<void> => rm(options.directory, { recursive: true, force: true });
  try {
    const name = `git repository ${showGitUrl(ref.remote)}`;
    const source = await openDirectory(path, { name, signal: options.signal });
    return { ...source, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

interface Wanted {
  readonly keepGitDir: boolean;
  readonly checksum: string | undefined;
}

/** @throws TsbuildError DOCKERFILE_INVALID */
function merge(ref: GitRef, options: GitOptions): Wanted {
  const refuse = (why: string): TsbuildError =>
    new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to read the options for ${showGitUrl(ref.remote)}: ${why}`,
    );
  const { keepGitDir: keep, checksum: given } = options;
  if (keep !== undefined && ref.keepGitDir !== undefined && keep !== ref.keepGitDir) {
    throw refuse("inconsistent keep-git-dir configuration");
  }
  if (given !== undefined && ref.checksum !== undefined && given !== ref.checksum) {
    throw refuse(`checksum mismatch ${JSON.stringify(given)} != ${JSON.stringify(ref.checksum)}`);
  }
  const checksum = given ?? ref.checksum;
  if (checksum !== undefined && !/^[0-9a-f]+$/i.test(checksum)) {
    throw refuse(`invalid checksum ${checksum} for Git URL, expected hex commit hash`);
  }
  if (checksum !== undefined && checksum.length < MIN_CHECKSUM) {
    throw refuse(
      `invalid checksum ${checksum} for Git URL, expected at least ${MIN_CHECKSUM} digits`,
    );
  }
  const keepGitDir = (keep ?? ref.keepGitDir ?? false) && (ref.subdir ?? "") === "";
  return { keepGitDir, checksum: checksum?.toLowerCase() };
}

function accessTo(ref: GitRef, given: GitCredentials | undefined): GitSetting["access"] {
  const credentials = ref.credentials ?? given;
  const origin = /^https?:\/\/[^/]+/.exec(ref.remote)?.[0];
  if (credentials === undefined || origin === undefined) return undefined;
  // git-credential's protocol has a line for each: a line break would begin another one.
  if (/\p{Cc}/u.test(credentials.username + credentials.password)) {
    const shown = showGitUrl(ref.remote);
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to fetch ${shown}: user or password has a control character`,
    );
  }
  return { origin, credentials };
}

async function checkOut(ref: GitRef, wanted: Wanted, outside: GitSetting): Promise<GitCheckout> {
  const target = await resolveGitTarget(ref, wanted.checksum, outside);
  const path = join(outside.cwd, "checkout");
  await mkdir(path);
  const setting = { ...outside, cwd: path };
  await git(["init", "-q", "--template=", ...formatOf(target)], setting);
  const name = await fetchTarget(target, ref.remote, setting);
  const { commit, object } = await identify(name, setting);
  verify(wanted.checksum, object === commit ? [commit] : [object, commit], setting);
  await git(["checkout", "-q", "--detach", commit, "--"], setting);
  const modules = ref.submodules !== false && hasSubmodules(path);
  // Submodules with a relative URL are beside it.
  if (modules || wanted.keepGitDir) {
    await git(["remote", "add", "--", "origin", ref.remote], setting);
  }
  if (modules) await updateSubmodules(setting);
  const mtime = ref.mtime === "commit" ? await committedAt(commit, setting) : undefined;
  await rm(join(path, ".git", "FETCH_HEAD"), { force: true });
  const removeGit = !wanted.keepGitDir;
  await settleTree(path, { removeGit, mtime, signal: setting.signal });
  return { path: enter(path, ref.subdir ?? "", setting), commit };
}

function formatOf(target: GitTarget): readonly string[] {
  return target.objectFormat === "sha256" ? ["--object-format=sha256"] : [];
}

/** Fetches, and returns what the fetched object is called here: a full ref, a commit, or the beginning of one. */
async function fetchTarget(
  target: GitTarget,
  remote: string,
  setting: GitSetting,
): Promise<string> {
  switch (target.kind) {
    case "ref": {
      const refspec = `+${target.name}:${target.name}`;
      if (!(await fetchShallow(remote, refspec, setting))) {
        await git([...FETCH, "--no-tags", "--", remote, refspec], setting);
      }
      return target.name;
    }
    case "commit":
      if (!(await fetchShallow(remote, target.commit, setting)))
        await fetchEverything(remote, setting);
      if (target.name !== undefined) {
        await git(["update-ref", "--", target.name, target.commit], setting);
      }
      return target.commit;
    case "prefix":
      await fetchEverything(remote, setting);
      return target.prefix;
    default:
      return unreachable(target);
  }
}

/** `-u`: HEAD names a branch that does not exist yet, and that may be the one to fetch. */
const FETCH = ["fetch", "-q", "-u"] as const;

/** Nothing but the commit that is wanted; false: the server cannot. */
async function fetchShallow(remote: string, what: string, setting: GitSetting): Promise<boolean> {
  const result = await runGit([...FETCH, "--no-tags", "--depth=1", "--", remote, what], setting);
  if (result.code === 0) return true;
  if (NEEDS_MORE.test(result.stderr)) return false;
  throw gitFailure(result, setting);
}

async function fetchEverything(remote: string, setting: GitSetting): Promise<void> {
  const refspecs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
  await git([...FETCH, "--", remote, ...refspecs], setting);
}

/** @throws TsbuildError CONTEXT_UNREADABLE when there is no such commit, or several begin so */
async function identify(
  name: string,
  setting: GitSetting,
): Promise<{ readonly commit: string; readonly object: string }> {
  const args = ["rev-parse", `${name}^{commit}`, name, "--"];
  const result = await runGit(args, setting);
  const ids = result.stdout.split("\n").filter(isCommitId);
  const [commit, object] = ids;
  if (result.code === 0 && commit !== undefined && object !== undefined) return { commit, object };
  const why = /short .* is ambiguous/.test(result.stderr)
    ? `several objects of the repository begin with ${name}`
    : `repository does not contain ref ${name}`;
  throw new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${setting.shown}: ${why}`);
}

function verify(checksum: string | undefined, ids: readonly string[], setting: GitSetting): void {
  if (checksum === undefined || ids.some((id) => id.startsWith(checksum))) return;
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to fetch ${setting.shown}: expected checksum to match ${checksum}, got ${ids.join(" or ")}`,
  );
}

function hasSubmodules(path: string): boolean {
  return lstatSync(join(path, ".gitmodules"), { throwIfNoEntry: false }) !== undefined;
}

async function updateSubmodules(setting: GitSetting): Promise<void> {
  const update = ["submodule", "--quiet", "update", "--init", "--recursive"];
  const result = await runGit([...update, "--depth=1"], setting);
  if (result.code === 0) return;
  if (!NEEDS_MORE.test(result.stderr)) throw gitFailure(result, setting);
  // What was fetched so far is shallow, and would stay it.
  await git(["submodule", "--quiet", "deinit", "--all", "--force"], setting);
  await rm(join(setting.cwd, ".git", "modules"), { recursive: true, force: true });
  await git(update, setting);
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
