import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { FileCalls } from "../../src/worker/linux/files.js";
import type { State } from "./snapshot-scenario.js";

/** Every entry of a tree, as `lstat` and the attributes tell of it. @param marks With the overlay's own attributes. */
export function stateOf(calls: FileCalls, root: string, marks: boolean = false): State {
  const state: Record<string, string> = {};
  const links = new Map<string, string>();
  const visit = (path: Buffer): void => {
    const full = Buffer.concat([Buffer.from(`${root}/`), path]);
    const stats = lstatSync(full, { bigint: true, throwIfNoEntry: false });
    // An overlay lists the whiteouts of a directory that a single layer has.
    if (stats === undefined) return;
    // The test's own sockets are in no layer.
    if (stats.isSocket()) return;
    const name = path.toString("latin1");
    const inode = `${stats.dev}:${stats.ino}`;
    const parts = [
      stats.mode.toString(8),
      `${stats.uid}:${stats.gid}`,
      `mtime ${stats.mtimeNs}`,
      ...(stats.isDirectory() ? [] : [`size ${stats.size}`, `nlink ${stats.nlink}`]),
      ...(stats.isCharacterDevice() || stats.isBlockDevice() ? [`device ${stats.rdev}`] : []),
      ...(stats.isSymbolicLink() ? [`-> ${readlinkSync(full, "latin1")}`] : []),
      ...(stats.isFile()
        ? [createHash("sha256").update(readFileSync(full)).digest("hex").slice(0, 12)]
        : []),
    ];
    if (!stats.isDirectory() && stats.nlink > 1n) {
      const first = links.get(inode) ?? name;
      links.set(inode, first);
      parts.push(`same as ${first}`);
    }
    for (const xattr of calls.listXattrs(full).map(String).sort()) {
      if (xattr.startsWith("user.overlay.") && !marks) continue;
      if (xattr === "security.selinux") continue;
      parts.push(`${xattr}=${calls.getXattr(full, xattr)?.toString("hex") ?? ""}`);
    }
    state[name] = parts.join(" ");
    if (!stats.isDirectory()) return;
    const names = readdirSync(full, "buffer").sort((a, b) => Buffer.compare(a, b));
    for (const child of names) {
      visit(path.length === 0 ? child : Buffer.concat([path, Buffer.from("/"), child]));
    }
  };
  visit(Buffer.alloc(0));
  return state;
}
