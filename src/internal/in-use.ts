import { existsSync, type Stats } from "node:fs";
import { readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoOf } from "../errors.js";
import { writeFileAtomic } from "./atomic-file.js";
import { currentProcess, formatProcess, parseProcess, processState } from "./process-identity.js";

/**
 * How builds keep what they use from those who clean the store up, with no lock that a build waits for.
 *
 * A build touches what it is about to rely on, then looks whether something is being taken away at this moment, and if
 * so waits, for milliseconds; what is there after that stays for as long as the build lives. Who cleans up says so
 * first, then looks at the times, then lists the builds that live, and takes only what was last touched before the
 * oldest of them began. So either the touch is seen, or the build sees who takes, and looks again afterwards.
 */
export interface Uses {
  /**
   * Marks as used what is at a path. `undefined` when it is not there, or was just taken away.
   * @param mark The file whose time says so, made when absent; the thing itself where its own time may change.
   */
  use(thing: string, mark?: string): Promise<Stats | undefined>;
  /** Whether what was just put there under that name has stayed there. */
  kept(thing: string): Promise<boolean>;
}

/** Says that something is being taken away, and by whom. */
const TAKING = "taking";
/** In a build's staging directory: it cannot mark what it uses, so nothing may go while it lives. */
export const KEEP_ALL = "keep-all";
/** Taking is some renames. Whoever takes longer is not there any more, or will see that things have changed. */
const PATIENCE_MS = 5_000;
const POLL_MS = 3;
const UNTOUCHABLE: ReadonlySet<string> = new Set(["EPERM", "EACCES", "EROFS"]);

/** @param staging The build's own, two levels below the store's root. */
export function openUses(staging: string): Uses {
  const taking = join(dirname(dirname(staging)), TAKING);
  // What was marked once is this build's to its end.
  const marked = new Set<string>();
  const kept = async (thing: string): Promise<boolean> => {
    await nothingIsTaken(taking);
    return (await statOf(thing)) !== undefined;
  };
  return {
    kept,
    async use(thing, mark = thing) {
      if (marked.has(thing)) return statOf(thing);
      if (mark !== thing && (await statOf(thing)) === undefined) return undefined;
      try {
        await touch(mark, mark !== thing);
      } catch (error) {
        const errno = errnoOf(error) ?? "";
        if (errno === "ENOENT") return undefined;
        if (!UNTOUCHABLE.has(errno)) throw error;
        await writeFile(join(staging, KEEP_ALL), "").catch(() => undefined);
      }
      await nothingIsTaken(taking);
      const found = await statOf(thing);
      if (found !== undefined) marked.add(thing);
      return found;
    },
  };
}

async function touch(mark: string, isMade: boolean): Promise<void> {
  const now = new Date();
  try {
    await utimes(mark, now, now);
  } catch (error) {
    if (!isMade || errnoOf(error) !== "ENOENT") throw error;
    await writeFile(mark, "", { mode: 0o600 });
  }
}

async function nothingIsTaken(taking: string): Promise<void> {
  // Almost always: without the way over the thread pool, which each look-up would take.
  if (!existsSync(taking)) return;
  const started = performance.now();
  while (performance.now() - started < PATIENCE_MS) {
    let text: string;
    try {
      text = await readFile(taking, "utf8");
      const owner = parseProcess(text);
      const state = owner === undefined ? "unknown" : processState(owner);
      if (state === "dead") return;
      if (state === "unknown" && Date.now() - (await stat(taking)).mtimeMs > PATIENCE_MS) return;
    } catch {
      return;
    }
    await sleep(POLL_MS);
  }
}

/**
 * Tells all builds that something is being taken away from the store, while `work` does so: renames, no more. One process
 * at a time, which holds the lock of those who clean up.
 */
export async function whileTaking<T>(root: string, work: () => Promise<T>): Promise<T> {
  const taking = join(root, TAKING);
  await writeFileAtomic(taking, formatProcess(currentProcess()));
  try {
    return await work();
  } finally {
    await rm(taking, { force: true });
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
