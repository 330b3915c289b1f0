/** How much memory a command's largest process has ever held. */
import { readdirSync, readFileSync } from "node:fs";
import type { ChildProcess } from "node:child_process";

/** A peak never falls, so looking often misses only what a process does just before its end. */
const EVERY_MS = 40;

export interface Watch extends Disposable {
  /** For `RunOptions.onStart`. */
  readonly onStart: (child: ChildProcess) => void;
  /** MiB of the largest process of the tree so far. */
  readonly peak: () => number;
}

export function watchMemory(): Watch {
  let largest = 0;
  let timer: NodeJS.Timeout | undefined;
  return {
    onStart: ({ pid }) => {
      if (pid === undefined) return;
      timer = setInterval(() => {
        for (const one of treeOf(pid)) largest = Math.max(largest, peakOf(one));
      }, EVERY_MS);
    },
    peak: () => largest / 1024,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

/** A process and everything that came from it. */
function treeOf(root: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(/^\d+ \(.*\) \S (\d+)/s.exec(read(`/proc/${name}/stat`))?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found = [root];
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}

/** KiB; 0 when it has ended. */
function peakOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
