import type { Disk } from "./usage.js";

/** How large a store may become. Bytes. */
export interface Bound {
  /** It is never larger, but for what a build has just used. */
  readonly most: number;
  /** It gives way while less than this is free on the disk, ... */
  readonly free: number;
  /** ... as long as it is larger than this. */
  readonly least: number;
}

const GIGABYTE = 1e9;

/** BuildKit's: 80 % of the disk or 100 GB, a fifth of the disk free, 10 % or 10 GB left alone. */
export function defaultBound({ total }: Disk): Bound {
  return {
    most: Math.min(total * 0.8, 100 * GIGABYTE),
    free: total * 0.2,
    least: Math.min(total * 0.1, 10 * GIGABYTE),
  };
}

/** Bytes that a store of `bytes` may keep. */
export function bytesToKeep(bytes: number, disk: Disk, { most, free, least }: Bound): number {
  const lacking = Math.max(0, free - disk.free);
  return Math.max(least, Math.min(most, lacking === 0 ? most : bytes - lacking));
}
