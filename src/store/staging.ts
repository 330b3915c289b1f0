import { randomBytes } from "node:crypto";
import { mkdir, readdir, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import {
  currentProcess,
  formatProcess,
  parseProcess,
  processState,
} from "../internal/process-identity.js";
import { errnoOf } from "../errors.js";
import { storeFailure } from "./failure.js";
import { removeTree } from "./remove-tree.js";

/** A living build touches its directory this often. */
const HEARTBEAT_MS = 60 * 60 * 1000;
/** Without a heartbeat for so long, a directory whose process cannot be asked counts as abandoned. */
const ABANDONED_MS = 24 * HEARTBEAT_MS;

const SLACK_MS = 1000;

/** Below `git/`: its time says when a build last used any repository. */
export const GIT_MARK = "used";

/** A directory of one build, with the identity of its process in the name: there is no moment at which it has none. */
export interface Staging extends AsyncDisposable {
  readonly directory: string;
  /** A name in it that was never given out. */
  readonly path: (suffix: string) => string;
}

/** What a name ends in: when it began, in milliseconds since 1970, and what makes it unique. */
const ENDING = /(?:-([0-9a-f]{11,13}))?-[0-9a-f]{12}$/;

/** A name with this process's identity in it, that nobody ever had. */
export function ownedName(): string {
  const owner = formatProcess(currentProcess());
  return `${owner}-${Date.now().toString(16).padStart(11, "0")}-${randomBytes(6).toString("hex")}`;
}

/** Makes a staging directory below `parent`. Disposing deletes what this process may delete, and never fails. */
export async function createStaging(parent: string): Promise<Staging> {
  // Before anything that it could touch: whoever cleans up goes by that.
  const directory = join(parent, ownedName());
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    throw storeFailure("make a staging directory", directory, error);
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(directory, now, now).catch(() => undefined);
  }, HEARTBEAT_MS);
  heartbeat.unref();
  let given = 0;
  return {
    directory,
    path(suffix) {
      given += 1;
      return join(directory, `${given}-${suffix.replaceAll(/[^A-Za-z0-9._-]/g, "_")}`);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(heartbeat);
      await removeTree(directory);
    },
  };
}

async function lastTouched(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    return found.isDirectory() ? found.mtimeMs : undefined;
  } catch {
    return undefined;
  }
}

/** A build that goes on, as far as one can tell from here. */
export interface LivingBuild {
  readonly directory: string;
  /** Milliseconds since 1970; nothing that it uses was last touched before. */
  readonly began: number;
}

/** The staging directories below `parent`. */
export interface StagingDirectories {
  readonly living: readonly LivingBuild[];
  /**
   * No living build uses them. One whose process is of another pid namespace, boot or machine counts only after a day
   * without its heartbeat.
   */
  readonly abandoned: readonly string[];
}

/** @throws TsbuildError STORE_FAILED */
export async function listStaging(parent: string): Promise<StagingDirectories> {
  const self = currentProcess();
  const living: LivingBuild[] = [];
  const abandoned: string[] = [];
  let names: readonly string[];
  try {
    names = await readdir(parent);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return { living, abandoned };
    throw storeFailure("list staging directories", parent, error);
  }
  for (const name of names.toSorted()) {
    const path = join(parent, name);
    if (await isAbandoned(path, name, self)) abandoned.push(path);
    else living.push({ directory: path, began: beganAt(name) });
  }
  return { living, abandoned };
}

/** Whether nobody is left who made something with an {@link ownedName}. */
export async function isAbandoned(
  path: string,
  name: string,
  self: ReturnType<typeof currentProcess>,
): Promise<boolean> {
  const owner = parseProcess(name.replace(ENDING, ""));
  const state = owner === undefined ? "unknown" : processState(owner, self);
  if (state === "alive") return false;
  const touched = await lastTouched(path);
  if (touched === undefined) return false;
  return state === "dead" || Date.now() - touched > ABANDONED_MS;
}

/** What does not say when it began may have begun at any time. The kernel's times of files lag behind by a tick. */
function beganAt(name: string): number {
  const [, time] = ENDING.exec(name) ?? [];
  return time === undefined ? 0 : Number.parseInt(time, 16) - SLACK_MS;
}
