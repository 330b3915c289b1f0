import { readFileSync, readlinkSync } from "node:fs";
import { errnoOf } from "../errors.js";

/** Names one process for good: a pid alone is given to another process sooner or later. */
export interface ProcessIdentity {
  /** 32 hex digits: which start of which kernel. `0` where /proc does not say. */
  readonly bootId: string;
  /** Inode of the pid namespace in which `pid` counts. `0` where /proc does not say. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** Clock ticks from boot to the process's start. `0` where /proc does not say. */
  readonly startTicks: string;
}

const UNKNOWN = "0";
const FORM = /^([0-9a-f]+)\.(\d+)\.(\d+)\.(\d+)$/;

function orUnknown(read: () => string | undefined): string {
  try {
    return read() ?? UNKNOWN;
  } catch {
    return UNKNOWN;
  }
}

/** State and start of a process, proc_pid_stat(5). The command before them may hold blanks and parentheses. */
function readStat(who: string): { readonly state: string; readonly startTicks: string } {
  const text = readFileSync(`/proc/${who}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", startTicks: fields[19] ?? UNKNOWN };
}

/** The identity of this process. */
export function currentProcess(): ProcessIdentity {
  return {
    bootId: orUnknown(() => {
      const text = readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
      return /^[0-9a-f]+$/.exec(text.trim().replaceAll("-", ""))?.[0];
    }),
    pidNamespace: orUnknown(() => /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0]),
    pid: process.pid,
    startTicks: orUnknown(() => readStat("self").startTicks),
  };
}

/** As a file name's part: hex digits, digits and dots. */
export function formatProcess(identity: ProcessIdentity): string {
  return [identity.bootId, identity.pidNamespace, identity.pid, identity.startTicks].join(".");
}

/** `undefined` when the text is not what `formatProcess` writes. */
export function parseProcess(text: string): ProcessIdentity | undefined {
  const [, bootId, pidNamespace, pid, startTicks] = FORM.exec(text) ?? [];
  if (!bootId || !pidNamespace || !pid || !startTicks) return undefined;
  return { bootId, pidNamespace, pid: Number(pid), startTicks };
}

/** Whether signals could be sent to the pid: asked of the kernel, since /proc may be another namespace's. */
function pidExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== "ESRCH";
  }
}

/**
 * `unknown` for a process of another boot, host or pid namespace, which cannot be asked from here. Errs towards `alive`:
 * the answer `dead` is what lets its files be deleted.
 */
export function processState(
  identity: ProcessIdentity,
  self: ProcessIdentity = currentProcess(),
): "alive" | "dead" | "unknown" {
  const parts = [identity.bootId, identity.pidNamespace, identity.startTicks, self.startTicks];
  if (parts.includes(UNKNOWN) || identity.pid < 1) return "unknown";
  if (identity.bootId !== self.bootId) return "unknown";
  if (identity.pidNamespace !== self.pidNamespace) return "unknown";
  if (!pidExists(identity.pid)) return "dead";
  try {
    // A /proc of another namespace shows other processes under the same numbers.
    if (readlinkSync("/proc/self") !== String(self.pid)) return "alive";
    const { state, startTicks } = readStat(String(identity.pid));
    if (startTicks !== identity.startTicks) return "dead";
    return state === "Z" || state === "X" ? "dead" : "alive";
  } catch {
    return "alive";
  }
}
