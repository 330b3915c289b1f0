import { lstat, mkdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { valueOf, type Environment } from "./environment.js";

/** The builder's own directory in the executor image. */
const EXECUTOR_HOME = "/kaniko";

/** Where a build keeps what it makes. */
export interface StorePlace {
  /** Absolute. */
  readonly directory: string;
  /** What the user should know: it is not where it usually is. */
  readonly notice?: string;
}

interface Candidate {
  readonly directory: string;
  /** Not made when absent: whoever has no such directory has no use for one. */
  readonly below?: string;
}

/**
 * Where it is asked for; else the first of the usual places that this user can write to: a home may be missing, or on a
 * root filesystem that is read-only. @throws TsbuildError USAGE when there is none
 */
export async function findStorePlace(
  given: string | undefined,
  environment: Environment,
): Promise<StorePlace> {
  const named = given ?? valueOf(environment, "TSBUILD_STORE");
  if (named !== undefined) return { directory: resolve(named) };
  const candidates = usualPlaces(environment);
  const [first] = candidates;
  const reasons: string[] = [];
  for (const candidate of candidates) {
    const because = await obstacleTo(candidate);
    const { directory } = candidate;
    if (because === undefined) {
      if (candidate === first) return { directory };
      const why = reasons.length === 0 ? "" : ` (${reasons.join("; ")})`;
      const notice = `the store is at ${directory}${why}: --store or TSBUILD_STORE names another place`;
      return { directory, notice };
    }
    reasons.push(`${directory}: ${because}`);
  }
  throw new TsbuildError("USAGE", `there is no place for the store: ${reasons.join("; ")}`, {
    hint: "name a directory that this user can write with --store or TSBUILD_STORE: in a Pod an emptyDir",
  });
}

function usualPlaces(environment: Environment): readonly Candidate[] {
  const cache = valueOf(environment, "XDG_CACHE_HOME");
  const home = valueOf(environment, "HOME");
  const executor = valueOf(environment, "KANIKO_DIR") ?? EXECUTOR_HOME;
  const temporary = valueOf(environment, "TMPDIR") ?? "/tmp";
  const ours = { directory: join(executor, "store"), below: executor };
  // Where steps may have the builder's own "/", nothing of theirs is in there: `rm -rf ~/.cache` is a common line.
  const isInExecutor = process.execPath.startsWith(`${EXECUTOR_HOME}/`);
  return [
    ...(isInExecutor ? [ours] : []),
    ...(cache === undefined ? [] : [{ directory: resolve(cache, "tsbuild") }]),
    ...(home === undefined ? [] : [{ directory: resolve(home, ".cache", "tsbuild") }]),
    ...(isInExecutor ? [] : [ours]),
    { directory: resolve(temporary, `tsbuild-${process.geteuid?.() ?? 0}`) },
  ];
}

/** Why the directory cannot be had; it is made on the way. */
async function obstacleTo({ directory, below }: Candidate): Promise<string | undefined> {
  try {
    if (below !== undefined) await stat(below);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const found = await lstat(directory);
    // In a directory that everybody writes to, somebody else may have been there first.
    const isOurs = found.isDirectory() && found.uid === (process.geteuid?.() ?? 0);
    if (!isOurs) return "it belongs to somebody else";
    const trial = join(directory, `.trial-${process.pid}`);
    await mkdir(trial);
    await rm(trial, { recursive: true });
    return undefined;
  } catch (error) {
    const texts: Readonly<Record<string, string>> = {
      EACCES: "permission denied",
      EROFS: "read-only",
      ENOENT: "not there",
      ENOSPC: "the disk is full",
    };
    return texts[errnoOf(error) ?? ""] ?? messageOf(error);
  }
}
