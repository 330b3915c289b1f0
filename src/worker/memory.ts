import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Bytes. Upper directories in memory hold what the steps of a build write until it is a layer. With less than this a
 * step that installs a compiler would fill it, and a build that works with directories and scans would fail.
 */
export const ENOUGH_MEMORY: number = 2 * 1024 * 1024 * 1024;
/** Bytes: nothing to speak of fits in less, asked for or not. */
export const LEAST_MEMORY: number = 64 * 1024 * 1024;
/** A limit of control groups, version 1, that means none. */
const NO_LIMIT = 2 ** 62;

/** How files of the kernel are read; `undefined` when there is none. */
export type ReadKernelFile = (path: string) => string | undefined;

export function readKernelFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Bytes that may be taken for files in memory: half of what is available, and of what the control group allows. */
export function memoryForFiles(read: ReadKernelFile = readKernelFile): number {
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(read("/proc/meminfo") ?? "")?.[1];
  const limits = [Number(available ?? 0) * 1024, ...groupLimits(read)];
  // Whole pages.
  return Math.floor(Math.min(...limits) / 2 / 4096) * 4096;
}

/** Of our own control group and those above it, as far as they are visible; cgroups(7). */
function groupLimits(read: ReadKernelFile): readonly number[] {
  const limits: number[] = [];
  for (const line of (read("/proc/self/cgroup") ?? "").split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const isOne = controllers.split(",").includes("memory");
    if (controllers !== "" && !isOne) continue;
    const top = isOne ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    const name = isOne ? "memory.limit_in_bytes" : "memory.max";
    for (const group of upwards(path)) {
      const value = Number(read(join(top, group, name)) ?? Number.NaN);
      if (value > 0 && value < NO_LIMIT) limits.push(value);
    }
  }
  return limits;
}

function upwards(path: string): readonly string[] {
  const names = path.split("/").filter(Boolean);
  return names.map((_, at) => names.slice(0, at + 1).join("/")).concat("");
}
