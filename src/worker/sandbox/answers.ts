import { type BigIntStats, chmodSync, lstatSync, statSync } from "node:fs";
import type { AttributeCalls } from "../linux/attributes.js";
import type { FileCalls } from "../linux/files.js";
import type { UnameReader } from "../linux/machine-name.js";
import type { StateReader } from "../linux/state.js";
import { afterGiven, type Given, type Intent } from "../snapshot/intents.js";
import type { Place } from "./caller.js";
import type { OwnerThreadOrder } from "./owners.js";

const MODE_BITS = 0o7777n;

/** What a step's calls are answered with. */
export interface AnswerTools {
  readonly files: FileCalls;
  readonly states: StateReader;
  readonly attributes: AttributeCalls;
  readonly uname: UnameReader;
  readonly order: OwnerThreadOrder;
  /** By inode number: what the step did, as it goes on. */
  readonly given: Map<bigint, Given>;
}

export function statsOf({ path, follow }: Place): BigIntStats {
  return (follow ? statSync : lstatSync)(path, { bigint: true });
}

/** Writes down what was done to a file, besides what was before. */
export function give(
  { given }: AnswerTools,
  stats: BigIntStats,
  change: Partial<Pick<Given, "uid" | "gid" | "capability" | "device">>,
  mode: bigint = stats.mode,
): void {
  const known = given.get(stats.ino);
  const { birthtimeNs: bornNs, mtimeNs } = stats;
  const before = known?.bornNs === bornNs ? known : undefined;
  given.set(stats.ino, { ...before, bornNs, mtimeNs, mode: Number(mode & MODE_BITS), ...change });
}

/** Moves the file's ctime, so that it is seen to have changed. */
export function touch(at: string, stats: BigIntStats, files: FileCalls, mode = stats.mode): void {
  if (stats.isSymbolicLink()) files.utimes(at, stats.mtimeNs);
  else chmodSync(at, Number(mode & MODE_BITS));
}

/** What is meant to be so of a file. Owners are absent that nothing is known of. */
export type Meant = Omit<Intent, "uid" | "gid"> & Pick<Given, "uid" | "gid">;

export function meantOf(
  ino: bigint,
  look: () => BigIntStats,
  { given, order }: AnswerTools,
): Meant | undefined {
  const done = given.get(ino);
  const intent = order.intents.get(ino);
  if (done === undefined && intent === undefined) return undefined;
  const { birthtimeNs } = look();
  const known = intent?.bornNs === birthtimeNs ? intent : undefined;
  if (done?.bornNs !== birthtimeNs) return known;
  const after = afterGiven(known, done, { uid: 0, gid: 0 });
  return known === undefined ? { ...after, uid: done.uid, gid: done.gid } : after;
}
