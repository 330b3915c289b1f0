import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { TsbuildError } from "../../errors.js";
import type { ProcessCalls } from "../linux/process.js";

/** Between two looks at what was killed. */
const LOOK_MS = 2;
/** What does not die by then waits for a disk or a network that does not answer. */
const DEADLINE_MS = 10_000;

/** A line of the kernel's list of processes. */
interface Entry {
  readonly pid: number;
  readonly parent: number;
  readonly isDead: boolean;
}

/**
 * Kills every descendant of this process but `own` and theirs, and settles when none is left. For where steps have no
 * pid namespace whose end would do it: this process has to adopt orphans, so that nothing of a step escapes.
 * @throws TsbuildError INTERNAL when some do not die
 */
export async function endStrays(
  own: () => ReadonlySet<number>,
  calls: Pick<ProcessCalls, "reap">,
): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (killStrays(own(), calls) > 0) {
    if (Date.now() > deadline) {
      throw new TsbuildError("INTERNAL", "tried to end the processes of a step: they do not die");
    }
    await delay(LOOK_MS);
  }
}

/** The same for every descendant, without waiting for other work: before this process itself ends. */
export function endDescendants(calls: Pick<ProcessCalls, "reap">): void {
  const none: ReadonlySet<number> = new Set();
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const deadline = Date.now() + DEADLINE_MS;
  while (killStrays(none, calls) > 0 && Date.now() < deadline) Atomics.wait(clock, 0, 0, LOOK_MS);
}

/** How many there were. One that was killed may have made another just before: so it takes several looks. */
function killStrays(own: ReadonlySet<number>, calls: Pick<ProcessCalls, "reap">): number {
  const strays = straysAmong(listProcesses(), process.pid, own);
  for (const { pid, isDead } of strays) {
    if (isDead) calls.reap(pid);
    else kill(pid);
  }
  return strays.filter(({ isDead }) => !isDead).length;
}

/** The descendants of `top` that are neither `own` nor below one of these. */
export function straysAmong(
  list: readonly Entry[],
  top: number,
  own: ReadonlySet<number>,
): readonly Entry[] {
  const children = groupByParent(list);
  const found: Entry[] = [];
  const ahead = [top];
  for (let parent = ahead.pop(); parent !== undefined; parent = ahead.pop()) {
    for (const child of children.get(parent) ?? []) {
      if (own.has(child.pid)) continue;
      found.push(child);
      ahead.push(child.pid);
    }
  }
  return found;
}

function groupByParent(list: readonly Entry[]): ReadonlyMap<number, readonly Entry[]> {
  const groups = new Map<number, Entry[]>();
  for (const entry of list) {
    const group = groups.get(entry.parent);
    if (group === undefined) groups.set(entry.parent, [entry]);
    else group.push(entry);
  }
  return groups;
}

function listProcesses(): readonly Entry[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const entry = parseStat(readFileSync(`/proc/${name}/stat`, "latin1"));
      return entry === undefined ? [] : [entry];
    } catch {
      // It ended meanwhile.
      return [];
    }
  });
}

/** The user namespace that a process is in, as the kernel names it; `undefined` when it cannot be looked up. */
export function userNamespaceOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/user`);
  } catch {
    return undefined;
  }
}

/** Kills whatever is in a user namespace: its worker was killed, and cannot do it. A namespace that is also ours is left alone. */
export async function endNamespace(name: string): Promise<void> {
  if (name === userNamespaceOf("self")) return;
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const inside = listProcesses().filter(
      ({ pid, isDead }) => !isDead && userNamespaceOf(pid) === name,
    );
    if (inside.length === 0 || Date.now() > deadline) return;
    for (const { pid } of inside) kill(pid);
    await delay(LOOK_MS);
  }
}

/** A line of /proc/PID/stat (proc_pid_stat(5)); the name in it may hold anything, parentheses too. */
export function parseStat(line: string): Entry | undefined {
  const pid = Number.parseInt(line, 10);
  const [state, parent] = line.slice(line.lastIndexOf(")") + 2).split(" ");
  if (!Number.isSafeInteger(pid) || state === undefined || parent === undefined) return undefined;
  return { pid, parent: Number(parent), isDead: state === "Z" || state === "X" };
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended meanwhile.
  }
}
