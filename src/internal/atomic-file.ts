import { randomBytes } from "node:crypto";
import { readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { currentProcess, formatProcess, parseProcess, processState } from "./process-identity.js";

const MARK = ".tsbuild-";
/** Characters of the target's name that its temporary names keep; a file name has at most 255 bytes. */
const MAX_STEM = 40;

function prefixOf(path: string): string {
  return `.${basename(path).slice(0, MAX_STEM)}${MARK}`;
}

/** A fresh name in the directory of `path`, so that a rename stays on one filesystem. It names the process that made it. */
export function temporarySibling(path: string): string {
  const unique = `${formatProcess(currentProcess())}-${randomBytes(6).toString("hex")}`;
  return join(dirname(path), prefixOf(path) + unique);
}

/** Whether that is a temporary name of any path, whose process is dead. */
export function isAbandonedTemporary(
  name: string,
  self: ReturnType<typeof currentProcess>,
): boolean {
  const at = name.lastIndexOf(MARK);
  if (at < 0) return false;
  const owner = parseProcess(name.slice(at + MARK.length).replace(/-[0-9a-f]{12}$/, ""));
  return owner !== undefined && processState(owner, self) === "dead";
}

/** Deletes what processes that are dead left at temporary names of `path`. Never fails: it is a courtesy. */
export async function removeAbandonedSiblings(path: string): Promise<void> {
  const prefix = prefixOf(path);
  const self = currentProcess();
  const names = await readdir(dirname(path)).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const owner = parseProcess(name.slice(prefix.length).replace(/-[0-9a-f]{12}$/, ""));
    if (owner === undefined || processState(owner, self) !== "dead") continue;
    await rm(join(dirname(path), name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Replaces or makes a regular file: readers see the old content or the new one, whole. Throws the system's own error. */
export async function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  mode = 0o644,
): Promise<void> {
  const temporary = temporarySibling(path);
  try {
    await writeFile(temporary, content, { flag: "wx", mode });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}
