import { statfsSync } from "node:fs";
import type { Memory } from "./layer-host-types.js";

/** Of a hundred: less is as good as none, for a step that failed has often cleaned up after itself. */
const LITTLE = 5;

/** What to tell the user of a failed step where the memory for what steps write is as good as full; else `undefined`. */
export function fullMemory({ directory, bytes }: Memory): string | undefined {
  const { bavail, bsize, ffree } = statfsSync(directory);
  if (bavail * bsize > (bytes * LITTLE) / 100 && ffree > 0) return undefined;
  const size = `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  return `tsbuild: no space left: what steps write is kept in memory here, at most ${size}; put the store on a volume by --store (in a Pod an emptyDir), or take --driver=plain\n`;
}
