import { chmodSync, lstatSync, type BigIntStats } from "node:fs";
import { errnoOf } from "../../errors.js";
import { parentOf } from "../../layer/entry-path.js";
import type { FileEntry, FileWriter, RootFs } from "../../layer/types.js";
import { type FileCalls, S_IFSOCK } from "../linux/files.js";
import { type LiveRootFs, openRootFs } from "../root-fs.js";
import { atRoot } from "../root-names.js";
import { diskModeOf, type Intents, isOrdinary, rememberEntry } from "./intents.js";

export interface ConfinedFsOptions {
  readonly calls: FileCalls;
  readonly idMap: string;
  /** Filled with what the files cannot be. */
  readonly intents: Intents;
}

/**
 * The calls of unpacking for a user who may change no owner and enter no root: relative to the working directory, and
 * never through a symlink, so that nothing leads out of it. The umask is 0. Nothing else may change the root meanwhile.
 */
export function openConfinedFs({ calls, idMap, intents }: ConfinedFsOptions): LiveRootFs {
  const inner = openRootFs({ calls, form: "plain", singleId: true, idMap });
  const owner = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const parents = new RealParents();
  const outer: Required<RootFs> = {
    typeOf: (path) => (parents.areReal(path) ? inner.typeOf(path) : undefined),
    create(path, entry) {
      parents.check(path);
      if (entry.type === "hardlink") {
        parents.check(entry.linkTarget ?? "");
        return inner.create(path, entry);
      }
      if (entry.type === "char" || entry.type === "block") {
        parents.forget(path);
        makePlaceholder(path, entry, { calls, inner });
        rememberAt(path, entry, intents);
        return undefined;
      }
      const onDisk = { ...entry, ...owner, mode: diskModeOf(entry), xattrs: ordinaryOf(entry) };
      const writer = inner.create(path, onDisk);
      if (entry.type !== "directory") parents.forget(path);
      const remember = (): void => rememberAt(path, entry, intents);
      if (writer !== undefined) return rememberingWriter(writer, remember);
      remember();
      return undefined;
    },
    remove(path) {
      if (!parents.areReal(path)) return;
      parents.forget(path);
      inner.remove(path);
    },
    empty(path) {
      parents.check(path);
      parents.forget(path);
      inner.empty(path);
    },
    list(path) {
      parents.check(path);
      return inner.list(path);
    },
    whiteout: (path) => inner.whiteout(path),
    opaque: (path) => inner.opaque(path),
    finish: () => inner.finish(),
  };
  return {
    ...outer,
    get skipped() {
      return inner.skipped;
    },
    [Symbol.dispose]: () => inner[Symbol.dispose](),
  };
}

/** A device node nobody but root can make: a socket, which can be opened as little as one that is not there. */
function makePlaceholder(
  path: string,
  { mode, mtimeNs }: FileEntry,
  { calls, inner }: { readonly calls: FileCalls; readonly inner: LiveRootFs },
): void {
  const at = atRoot(path);
  if (inner.typeOf(path) !== undefined) inner.remove(path);
  calls.mknod(at, S_IFSOCK | (mode & 0o777), 0, 0);
  if ((mode & 0o7000) !== 0) chmodSync(at, mode);
  calls.utimes(at, mtimeNs);
}

function ordinaryOf({ xattrs, type }: FileEntry): ReadonlyMap<string, Uint8Array> {
  return new Map([...xattrs].filter(([name]) => isOrdinary(name, type)));
}

function rememberingWriter(writer: FileWriter, remember: () => void): FileWriter {
  return {
    write: (chunk) => writer.write(chunk),
    ...(writer.hole === undefined ? {} : { hole: (bytes) => writer.hole?.(bytes) }),
    close() {
      writer.close();
      remember();
    },
  };
}

function rememberAt(path: string, entry: FileEntry, intents: Intents): void {
  const stats = entry.type === "socket" ? undefined : statOf(path);
  if (stats === undefined) return;
  rememberEntry(intents, { ...entry, mode: modeOf(entry, stats) }, atRoot(path), stats);
}

/** A symlink's mode is the kernel's, whatever a tar says. */
function modeOf({ type, mode }: FileEntry, stats: BigIntStats): number {
  return type === "symlink" ? Number(stats.mode) & 0o7777 : mode;
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return lstatSync(atRoot(path), { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** Knows directories below which a name leads nowhere else: those that are reached through directories alone. */
class RealParents {
  readonly #real = new Set<string>([""]);

  areReal(path: string): boolean {
    const unknown: string[] = [];
    for (let at = parentOf(path); !this.#real.has(at); at = parentOf(at)) unknown.push(at);
    for (const at of unknown.toReversed()) {
      if (statOf(at)?.isDirectory() !== true) return false;
      this.#real.add(at);
    }
    return true;
  }

  check(path: string): void {
    if (!this.areReal(path)) throw new Error(`"/${parentOf(path)}" is not a directory`);
  }

  /** Something else is, or may be, at `path` from now on, and below it. */
  forget(path: string): void {
    if (path !== "" && !this.#real.has(path)) return;
    this.#real.clear();
    this.#real.add("");
  }
}
