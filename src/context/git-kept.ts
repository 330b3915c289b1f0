import { createHash, randomBytes } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { mkdir, readdir, rename, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { TsbuildError, unreachable } from "../errors.js";
import { lockDirectory } from "../internal/directory-lock.js";
import { git, gitFailure, runGit, type GitSetting } from "./git-process.js";
import { isCommitId } from "./git-ref.js";
import type { GitTarget, ObjectFormat } from "./git-resolve.js";

/** A commit that is in a kept repository, with everything that a checkout of it needs. */
export interface KeptCommit {
  /** The bare repository; only ever added to. */
  readonly repository: string;
  /** What the repository's directory is, should another one take its place. */
  readonly inode: number;
  /** What was asked for: the commit, or the object of an annotated tag. */
  readonly object: string;
  readonly commit: string;
  /** It came just now, and not from an earlier build. */
  readonly fetched: boolean;
}

/** Servers answer so when they cannot give one commit alone: dumb http, old ones, those that hide what is not a ref. */
export const NEEDS_MORE: RegExp =
  /shallow|--depth|dumb http|not our ref|unadvertised object|no such remote ref/i;

/** Refs of ours: `kept/<id>` says that the object came whole, with all that it refers to. */
const NEW = "refs/tsbuild/new";
const KEPT = "refs/tsbuild/kept";

const FETCH = ["fetch", "-q", "--no-tags", "--no-write-fetch-head"] as const;

/** Where a remote's repository and what belongs to it is kept; the remote's name is not in it. */
export function keptDirectory(parent: string, remote: string, format: ObjectFormat): string {
  const hash = createHash("sha256").update(`${format} ${remote}`).digest("hex");
  return join(parent, hash.slice(0, 32));
}

/**
 * Finds what is meant in the repository that is kept of the remote, and fetches it when it is not there: nothing but that
 * commit where the server can give it so. Builds that want something of the same remote wait for each other.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function keepCommit(
  target: GitTarget,
  remote: string,
  directory: string,
  outside: GitSetting,
): Promise<KeptCommit> {
  const repository = join(directory, "repository");
  const setting = { ...outside, cwd: repository };
  const now = new Date();
  // By that time who cleans up knows which ones are used.
  await utimes(directory, now, now).catch(() => undefined);
  const there = await findKept(target, setting);
  if (there !== undefined) return there;
  await using _lock = await lockDirectory(join(directory, "locks"), outside.signal);
  const meanwhile = await findKept(target, setting);
  if (meanwhile !== undefined) return meanwhile;
  const wasThere = isRepository(repository);
  if (wasThere) await removeLeftovers(repository);
  else await makeRepository(directory, target.objectFormat, outside);
  let object: string;
  try {
    object = await fetchTarget(target, remote, setting);
  } catch (error) {
    if (outside.signal.aborted || !wasThere || (await isHealthy(setting))) throw error;
    await makeRepository(directory, target.objectFormat, outside);
    object = await fetchTarget(target, remote, setting);
  }
  await git(["update-ref", "--", `${KEPT}/${object}`, object], setting);
  const commit = await identify(object, setting);
  return { repository, inode: statSync(repository).ino, object, commit, fetched: true };
}

/** Gives a repository up that turned out to be damaged, unless there already is another one. */
export async function discardKept(
  { repository, inode }: KeptCommit,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  await using _lock = await lockDirectory(join(directory, "locks"), signal);
  if (statSync(repository, { throwIfNoEntry: false })?.ino !== inode) return;
  const away = join(directory, `old-${randomBytes(6).toString("hex")}`);
  await rename(repository, away);
  await rm(away, { recursive: true, force: true });
}

/** Whether a failure has another reason than what the fetch was to build upon. */
async function isHealthy(setting: GitSetting): Promise<boolean> {
  const { code } = await runGit(["fsck", "--connectivity-only", "--no-dangling"], setting);
  return code === 0;
}

function isRepository(path: string): boolean {
  return existsSync(join(path, "HEAD"));
}

async function findKept(target: GitTarget, setting: GitSetting): Promise<KeptCommit | undefined> {
  if (!isRepository(setting.cwd)) return undefined;
  const { ino: inode } = statSync(setting.cwd);
  const object =
    target.kind === "prefix" ? (await parse(target.prefix, setting)).commit : target.id;
  if (object === undefined) return undefined;
  const { commit } = await parse(`${KEPT}/${object}`, setting);
  if (commit === undefined) return undefined;
  return { repository: setting.cwd, inode, object, commit, fetched: false };
}

/** Made elsewhere and renamed: a killed process leaves no half of one under the name. */
async function makeRepository(
  directory: string,
  format: ObjectFormat,
  setting: GitSetting,
): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith("new-") || name.startsWith("old-") || name === "repository") {
      await rm(join(directory, name), { recursive: true, force: true });
    }
  }
  const path = join(directory, `new-${randomBytes(6).toString("hex")}`);
  await mkdir(path, { mode: 0o700 });
  const args = ["init", "-q", "--bare", "--template="];
  await git(format === "sha256" ? [...args, "--object-format=sha256"] : args, {
    ...setting,
    cwd: path,
  });
  await rename(path, join(directory, "repository"));
}

/** Of a git that was killed; nobody else is at work here. */
async function removeLeftovers(repository: string): Promise<void> {
  const remove = (...path: readonly string[]): Promise<void> =>
    rm(join(repository, ...path), { force: true });
  await remove("shallow.lock");
  await remove("packed-refs.lock");
  for (const name of await readdir(join(repository, "refs"), { recursive: true })) {
    if (name.endsWith(".lock")) await remove("refs", name);
  }
  for (const name of await readdir(join(repository, "objects", "pack"))) {
    if (name.startsWith("tmp_") || name.startsWith(".tmp")) await remove("objects", "pack", name);
  }
}

/** Fetches, and returns the id of the object that is meant. */
async function fetchTarget(
  target: GitTarget,
  remote: string,
  setting: GitSetting,
): Promise<string> {
  switch (target.kind) {
    case "ref": {
      const refspec = `+${target.name}:${NEW}`;
      if (!(await fetchShallow(remote, refspec, setting))) {
        await git([...FETCH, "--", remote, refspec], setting);
      }
      if ((await parse(NEW, setting)).object === target.id) return target.id;
      // It was moved since we asked. What it was then is what everything else of this build goes by.
      if (await fetchShallow(remote, target.id, setting)) return target.id;
      const why = `${target.name} was moved away from ${target.id} while it was fetched`;
      throw failure(why, setting, "build again");
    }
    case "commit":
      if (!(await fetchShallow(remote, target.id, setting))) await fetchAll(remote, setting);
      await identify(target.id, setting);
      return target.id;
    case "prefix":
      await fetchAll(remote, setting);
      return identify(target.prefix, setting);
    default:
      return unreachable(target);
  }
}

/** Nothing but the commit that is wanted; false: the server cannot. */
async function fetchShallow(remote: string, what: string, setting: GitSetting): Promise<boolean> {
  const result = await runGit([...FETCH, "--depth=1", "--", remote, what], setting);
  if (result.code === 0) return true;
  if (NEEDS_MORE.test(result.stderr)) return false;
  throw gitFailure(result, setting);
}

async function fetchAll(remote: string, setting: GitSetting): Promise<void> {
  const deepen = existsSync(join(setting.cwd, "shallow")) ? ["--unshallow"] : [];
  const refspecs = ["+refs/heads/*:refs/tsbuild/heads/*", "+refs/tags/*:refs/tsbuild/tags/*"];
  await git([...FETCH, ...deepen, "--prune", "--", remote, ...refspecs], setting);
}

interface Parsed {
  readonly object: string | undefined;
  readonly commit: string | undefined;
  readonly isAmbiguous: boolean;
}

async function parse(name: string, setting: GitSetting): Promise<Parsed> {
  const { code, stdout, stderr } = await runGit(
    ["rev-parse", `${name}^{commit}`, name, "--"],
    setting,
  );
  const [commit, object] = code === 0 ? stdout.split("\n").filter(isCommitId) : [];
  return { object, commit, isAmbiguous: /short .* is ambiguous/.test(stderr) };
}

/** @throws TsbuildError CONTEXT_UNREADABLE when there is no such commit, or several begin so */
async function identify(name: string, setting: GitSetting): Promise<string> {
  const { commit, isAmbiguous } = await parse(name, setting);
  if (commit !== undefined) return commit;
  throw failure(
    isAmbiguous
      ? `several objects of the repository begin with ${name}`
      : `repository does not contain ref ${name}`,
    setting,
  );
}

function failure(why: string, { shown }: GitSetting, hint?: string): TsbuildError {
  const options = hint === undefined ? {} : { hint };
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${shown}: ${why}`, options);
}
