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

/** A directory of one build, with the identity of its process in the name: there is no moment at which it has none. */
export interface Staging extends AsyncDisposable {
  readonly directory: string;
  /** A name in it that was never given out. */
  readonly path: (suffix: string) => string;
}

/** Makes a staging directory below `parent`. Disposing deletes what this process may delete, and never fails. */
export async function createStaging(parent: string): Promise<Staging> {
  const name = `${formatProcess(currentProcess())}-${randomBytes(6).toString("hex")}`;
  const directory = join(parent, name);
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

/**
 * Directories below `parent` that no living build uses. One whose process is of another pid namespace, boot or machine
 * counts only after a day without its heartbeat.
 */
export async function abandonedStaging(parent: string): Promise<readonly string[]> {
  const self = currentProcess();
  const abandoned: string[] = [];
  let names: readonly string[];
  try {
    names = await readdir(parent);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw storeFailure("list staging directories", parent, error);
  }
  for (const name of names.toSorted()) {
    const path = join(parent, name);
    const owner = parseProcess(name.replace(/-[0-9a-f]{12}$/, ""));
    const state = owner === undefined ? "unknown" : processState(owner, self);
    if (state === "alive") continue;
    const touched = await lastTouched(path);
    if (touched === undefined) continue;
    if (state === "dead" || Date.now() - touched > ABANDONED_MS) abandoned.push(path);
  }
  return abandoned;
}
