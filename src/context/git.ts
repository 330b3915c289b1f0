import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { openDirectory } from "./directory.js";
import { checkOutCommit, finishCheckout, type CheckoutOptions } from "./git-checkout.js";
import { discardKept, keepCommit, keptDirectory, type KeptCommit } from "./git-kept.js";
import type { GitAccess } from "./git-access.js";
import type { GitSetting } from "./git-process.js";
import { showGitUrl, type GitCredentials, type GitRef } from "./git-ref.js";
import { resolveGitTarget, type GitTarget } from "./git-resolve.js";
import type { FileSource, GitSource } from "./types.js";

export interface GitOptions {
  /** Where repositories are kept from build to build, on the filesystem of the checkouts. It exists. */
  readonly repositories: string;
  /** `--keep-git-dir`; the reference may say it instead. With a subdir there is none to keep. */
  readonly keepGitDir?: boolean;
  /** `--checksum`: the commit or its beginning; the reference may say it instead. */
  readonly checksum?: string;
  /** The program's own: git is found by its PATH, and reaches the network by its proxies, certificates and SSH agent. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** For the host of an http(s) URL; those in the URL come first. */
  readonly login?: GitLogin;
  /** A git of our own to run, see `gitBeside`; absent: the one of PATH. */
  readonly program?: string | undefined;
  readonly signal: AbortSignal;
}

/** A user and a password, or the value of an Authorization header. Never shown. */
export type GitLogin = GitCredentials | { readonly header: string };

export interface GitCheckout {
  /** The files, or the subdir of them. */
  readonly path: string;
  /** The whole id, in hexadecimal digits. */
  readonly commit: string;
}

/** A reference whose commit is known, and which can be checked out any number of times. */
export interface ResolvedGit {
  readonly identity: string;
  readonly commit: string;
  /** Into a new directory, which is removed when it fails. @throws TsbuildError CONTEXT_UNREADABLE */
  readonly checkOut: (directory: string) => Promise<GitCheckout>;
}

/**
 * Asks the server, with the `git` program, which commit is meant; a whole commit id is taken at its word. It is fetched when
 * it is checked out, unless it is kept from an earlier build: only the beginning of an id has to be looked for at once.
 * Nothing in a repository runs, nothing outside of `repositories` and the checkout is read or written; modes are those of
 * umask 022.
 * @throws TsbuildError DOCKERFILE_INVALID for options that contradict the reference, CONTEXT_UNREADABLE
 */
export async function resolveGit(ref: GitRef, options: GitOptions): Promise<ResolvedGit> {
  const wanted = merge(ref, options);
  const setting: GitSetting = {
    cwd: options.repositories,
    home: options.repositories,
    shown: showGitUrl(ref.remote),
    environment: options.environment ?? {},
    access: accessTo(ref, options.login),
    unverified: ref.skipTlsVerify === true ? originOf(ref) : undefined,
    program: options.program,
    signal: options.signal,
  };
  return named(setting, async () => {
    const target = await resolveGitTarget(ref, wanted.checksum, setting);
    const repository = new Repository(ref, target, wanted, setting);
    const commit = await repository.commit();
    return {
      commit,
      identity: identityOf(ref, target, wanted, commit),
      checkOut: (directory) => named(setting, () => repository.checkOut(directory)),
    };
  });
}

/** Resolves and checks out. @throws TsbuildError as `resolveGit` does */
export async function fetchGit(
  ref: GitRef,
  options: GitOptions & { readonly directory: string },
): Promise<GitCheckout> {
  return (await resolveGit(ref, options)).checkOut(options.directory);
}

/** A repository as a source of ADD. @throws TsbuildError as `resolveGit` does */
export async function openGit(ref: GitRef, options: GitOptions): Promise<GitSource> {
  const { identity, commit, checkOut } = await resolveGit(ref, options);
  const open = async (directory: string): Promise<FileSource> => {
    const { path } = await checkOut(directory);
    const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
    try {
      const name = `git repository ${showGitUrl(ref.remote)}`;
      const source = await openDirectory(path, { name, signal: options.signal });
      return { ...source, [Symbol.asyncDispose]: remove };
    } catch (error) {
      await remove();
      throw error;
    }
  };
  return { identity, commit, open };
}

/** Errors that are not ours get the repository's name. */
async function named<T>({ shown, signal }: GitSetting, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  try {
    return await work();
  } catch (error) {
    if (error instanceof TsbuildError || signal.aborted) throw error;
    const why = errnoOf(error) === "ENOSPC" ? "the disk is full" : messageOf(error);
    throw new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${shown}: ${why}`, {
      cause: error,
    });
  }
}

class Repository {
  readonly #ref: GitRef;
  readonly #target: GitTarget;
  readonly #wanted: Wanted;
  readonly #setting: GitSetting;
  readonly #directory: string;

  constructor(ref: GitRef, target: GitTarget, wanted: Wanted, setting: GitSetting) {
    this.#ref = ref;
    this.#target = target;
    this.#wanted = wanted;
    this.#setting = setting;
    this.#directory = keptDirectory(setting.home, ref.remote, target.objectFormat);
  }

  /** What is known of the commit without fetching it, if that is possible. */
  async commit(): Promise<string> {
    const target = this.#target;
    if (target.kind === "prefix") return (await this.#keep()).commit;
    const ids = [target.id, ...(target.kind === "ref" ? [target.peeled ?? target.id] : [])];
    if (target.kind === "ref") verify(this.#wanted.checksum, ids, this.#setting);
    return ids.at(-1) ?? target.id;
  }

  async checkOut(directory: string): Promise<GitCheckout> {
    await mkdir(directory, { mode: 0o700 });
    const setting = { ...this.#setting, home: directory };
    const path = join(directory, "checkout");
    try {
      const kept = await this.#place(path, setting);
      return {
        path: await finishCheckout(kept, path, this.#options(), setting),
        commit: kept.commit,
      };
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async #place(path: string, setting: GitSetting): Promise<KeptCommit> {
    const kept = await this.#keep();
    try {
      await checkOutCommit(kept, path, this.#options(), setting);
      return kept;
    } catch (error) {
      if (setting.signal.aborted || kept.fetched || isFull(error)) throw error;
    }
    // What an earlier build fetched has been damaged since.
    await discardKept(kept, this.#directory, setting.signal);
    await rm(path, { recursive: true, force: true });
    const again = await this.#keep();
    await checkOutCommit(again, path, this.#options(), setting);
    return again;
  }

  async #keep(): Promise<KeptCommit> {
    const kept = await keepCommit(this.#target, this.#ref.remote, this.#directory, this.#setting);
    verify(this.#wanted.checksum, [kept.object, kept.commit], this.#setting);
    return kept;
  }

  #options(): CheckoutOptions {
    const target = this.#target;
    return {
      ref: this.#ref,
      keepGitDir: this.#wanted.keepGitDir,
      name: target.kind === "prefix" ? undefined : target.name,
      objectFormat: target.objectFormat,
      kept: this.#directory,
    };
  }
}

function isFull(error: unknown): boolean {
  return errnoOf(error) === "ENOSPC" || /no space left/i.test(messageOf(error));
}

/** A kept `.git` also tells the remote, the ref's name and a tag's object. */
function identityOf(ref: GitRef, target: GitTarget, wanted: Wanted, commit: string): string {
  const name = target.kind === "prefix" ? undefined : target.name;
  const object = target.kind === "prefix" ? commit : target.id;
  return JSON.stringify([
    "git",
    commit,
    ref.subdir ?? "",
    ref.submodules !== false,
    ref.mtime ?? "checkout",
    ...(wanted.keepGitDir ? [ref.remote, name ?? "", object] : []),
  ]);
}

/** Digits; fewer would say little. */
const MIN_CHECKSUM = 7;

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

function originOf({ remote }: GitRef): string | undefined {
  return /^https?:\/\/[^/]+/.exec(remote)?.[0];
}

function accessTo(ref: GitRef, given: GitLogin | undefined): GitAccess | undefined {
  const login = ref.credentials ?? given;
  const origin = originOf(ref);
  if (login === undefined || origin === undefined) return undefined;
  const isHeader = "header" in login;
  // git-credential's protocol and a header have a line for each: a line break would begin another one.
  if (/\p{Cc}/u.test(isHeader ? login.header : login.username + login.password)) {
    const shown = showGitUrl(ref.remote);
    const what = isHeader ? "the header" : "user or password";
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to fetch ${shown}: ${what} has a control character`,
    );
  }
  return isHeader ? { origin, header: login.header } : { origin, credentials: login };
}

function verify(checksum: string | undefined, ids: readonly string[], setting: GitSetting): void {
  if (checksum === undefined || ids.some((id) => id.startsWith(checksum))) return;
  const got = [...new Set(ids)].join(" or ");
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to fetch ${setting.shown}: expected checksum to match ${checksum}, got ${got}`,
  );
}
