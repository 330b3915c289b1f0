import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import type { MountCalls } from "../linux/mount.js";
import type { RootMount } from "../snapshot/types.js";

type OverlayRoot = Extract<RootMount, { kind: "overlay" }>;

/**
 * Goes into the new directory `links`, where the layers of a root have short names: mount(2) takes one page of options,
 * and so it holds as many layers as the kernel takes, 500. Gives the names of the lower ones; the others are "upper"
 * and "work".
 */
export function nameLayers(root: OverlayRoot, links: string): readonly string[] {
  mkdirSync(links);
  process.chdir(links);
  const lower = root.lower.map((path, index) => {
    const name = index.toString(36);
    symlinkSync(path, name);
    return name;
  });
  symlinkSync(root.upper, "upper");
  symlinkSync(root.work, "work");
  // What an earlier mount of the same directories left: "volatile" refuses to be mounted over it.
  rmSync(`${root.work}/work`, { recursive: true, force: true });
  return lower;
}

/** Makes a root that is no step's own visible, writable, and gives the place. `links` does not exist yet. @throws SystemCallError */
export function mountSourceRoot(
  root: RootMount,
  links: string,
  overlayOptions: string,
  mounts: MountCalls,
): string {
  if (root.kind === "directory") return root.path;
  const lower = nameLayers(root, links);
  if (lower.length === 0) mkdirSync("none");
  const named = lower.length === 0 ? "none" : lower.join(":");
  const data = `lowerdir=${named},upperdir=upper,workdir=work,${overlayOptions}`;
  mounts.mount("overlay", root.target, "overlay", 0, data);
  process.chdir("/");
  return root.target;
}
