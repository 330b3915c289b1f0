/** Writes a case's context to a disk. */
import { chmod, link, lchown, lutimes, mkdir, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Tree } from "./cases.js";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Writes the tree below `root`, which is made. With `owner` everything belongs to that user, as if they had written
 * it; else to whom the entries say where this process may give files away.
 */
export async function writeTree(root: string, tree: Tree, owner: Owner | undefined): Promise<void> {
  const made = new Set<string>();
  const parents = async (path: string): Promise<void> => {
    if (made.has(path)) return;
    if (path !== root) await parents(dirname(path));
    await mkdir(path, { recursive: true });
    await chmod(path, 0o755);
    if (owner !== undefined) await lchown(path, owner.uid, owner.gid);
    made.add(path);
  };
  await parents(root);
  for (const [name, entry] of Object.entries(tree)) {
    const path = join(root, name);
    await parents(dirname(path));
    if (typeof entry === "string") await writeFile(path, entry);
    else if (entry.dir === true) await parents(path);
    else if (entry.symlink !== undefined) await symlink(entry.symlink, path);
    else if (entry.base64 !== undefined) await writeFile(path, Buffer.from(entry.base64, "base64"));
    else if (entry.hardlink === undefined) await writeFile(path, entry.content ?? "");
  }
  await linkAndMark(root, tree, owner);
}

/** Hard links, owners, modes and times: the deepest first, since a mode may shut a directory. */
async function linkAndMark(root: string, tree: Tree, owner: Owner | undefined): Promise<void> {
  const deepestFirst = Object.entries(tree).sort(([a], [b]) => depth(b) - depth(a));
  for (const [name, entry] of deepestFirst) {
    if (typeof entry === "object" && entry.hardlink !== undefined) {
      await link(join(root, entry.hardlink), join(root, name));
    }
  }
  const mayGive = process.getuid?.() === 0;
  for (const [name, entry] of deepestFirst) {
    const path = join(root, name);
    const facts = typeof entry === "string" ? {} : entry;
    if (facts.hardlink !== undefined) continue;
    const { uid, gid } = owner ?? facts;
    if (mayGive && (uid !== undefined || gid !== undefined)) await lchown(path, uid ?? 0, gid ?? 0);
    if (facts.symlink === undefined) {
      await chmod(path, Number.parseInt(facts.mode ?? (facts.dir === true ? "755" : "644"), 8));
    }
    if (facts.mtime === undefined) continue;
    const setTimes = facts.symlink === undefined ? utimes : lutimes;
    await setTimes(path, facts.mtime, facts.mtime);
  }
}

function depth(name: string): number {
  return relative("/", join("/", name)).split("/").length;
}
