import { statSync } from "node:fs";
import { freshIntent, type Intents } from "../snapshot/intents.js";
import type { Bind } from "./proot-binds.js";
import type { SandboxSpec } from "./types.js";

/** What is known of the files of a step's root, and of those that it sees besides: other roots, secrets, caches. */
export function intentsWith(
  known: Intents,
  mounts: SandboxSpec["mounts"],
  binds: readonly Bind[],
): Intents {
  const all: Intents = new Map(known);
  for (const mount of mounts) {
    const root = mount.kind === "root" && mount.root.kind === "directory" ? mount.root : undefined;
    for (const [ino, intent] of root?.intents ?? []) all.set(ino, intent);
  }
  for (const { source, meant } of binds) {
    if (meant === undefined) continue;
    const stats = statSync(source, { bigint: true });
    const intent = freshIntent(stats, meant);
    all.set(stats.ino, { ...intent, mode: meant.mode ?? intent.mode });
  }
  return all;
}
