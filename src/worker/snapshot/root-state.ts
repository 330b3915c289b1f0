import { chmodSync, chownSync, lstatSync } from "node:fs";
import { errnoOf } from "../../errors.js";
import type { FileCalls } from "../linux/files.js";
import { fsPath } from "../root-names.js";
import { diskXattrName, IMPLIED_ROOT, OPAQUE, OPAQUE_VALUE, readXattrs } from "../root-xattrs.js";

/** What is known of a root directory itself. An overlay mount shows its upper directory's. */
export interface RootState {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Names as the image has them. */
  readonly xattrs: readonly (readonly [string, Uint8Array])[];
}

/** Where no layer says anything about the root: as other builders have it, and the same each time. */
export const DEFAULT_ROOT: RootState = { mode: 0o755, uid: 0, gid: 0, mtimeNs: 0n, xattrs: [] };

/** The root directory that these unpacked layers make. @param lowers Topmost first. */
export function rootStateOf(calls: FileCalls, lowers: readonly string[]): RootState {
  const lower = lowers.find((path) => calls.getXattr(path, IMPLIED_ROOT) === undefined);
  if (lower === undefined) return DEFAULT_ROOT;
  const stats = lstatSync(lower, { bigint: true });
  return {
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    mtimeNs: stats.mtimeNs,
    xattrs: [...readXattrs(calls, lower, "overlay").xattrs],
  };
}

/** Gives a fresh upper directory the root's state. */
export function applyRootState(calls: FileCalls, directory: string, state: RootState): void {
  chownSync(directory, state.uid, state.gid);
  chmodSync(directory, state.mode);
  for (const [name, value] of state.xattrs) {
    calls.setXattr(directory, fsPath(diskXattrName(name)), value);
  }
  calls.utimes(directory, state.mtimeNs);
}

/** Says that the layer in `directory` leaves the root as the layers below have it. */
export function markRootImplied(calls: FileCalls, directory: string): void {
  try {
    calls.setXattr(directory, IMPLIED_ROOT, OPAQUE_VALUE);
  } catch (error) {
    // Without user attributes there is no overlay mount with userxattr either.
    if (errnoOf(error) !== "ENOTSUP" && errnoOf(error) !== "EOPNOTSUPP") throw error;
  }
}

/** Whether the layer hides all that is below it: the kernel ignores the attribute on a lower directory's root. */
export function hidesLayersBelow(calls: FileCalls, directory: string): boolean {
  return calls.getXattr(directory, OPAQUE)?.toString() === "y";
}
