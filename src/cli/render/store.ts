import type { CheckedStore, PruneResult, StoreEntry, StoreUsage } from "../../index.js";
import { formatBytes } from "./format.js";

/** Characters of a name; a digest is longer, and its beginning tells enough. */
const MOST = 40;
const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;

export function usageText(found: StoreUsage, isVerbose: boolean): string {
  const { store, kinds, entries, bytes, bytesInUse, isPartial } = found;
  const rows = kinds.map(({ kind, idMap, count, bytes: size, lastUsed }) => [
    idMap === undefined ? kind : `${kind} (ids ${idMap})`,
    String(count),
    formatBytes(size),
    ago(lastUsed),
  ]);
  const lines = [`store  ${store}`, ...table(["KIND", "COUNT", "SIZE", "LAST USED"], rows)];
  if (isVerbose && entries.length > 0) lines.push("", ...entryTable(entries));
  const more = isPartial ? ", and what belongs to ids that this user cannot have" : "";
  lines.push(`total  ${formatBytes(bytes)}${more}`);
  if (bytesInUse > 0) lines.push(`in use ${formatBytes(bytesInUse)}, by builds that go on`);
  return `${lines.join("\n")}\n`;
}

export function prunedText(found: PruneResult, isVerbose: boolean): string {
  const { removed, bytesFreed, bytesLeft, dryRun, problems } = found;
  const lines = isVerbose && removed.length > 0 ? [...entryTable(removed), ""] : [];
  const things = `${removed.length} ${removed.length === 1 ? "thing" : "things"}`;
  const verb = dryRun ? "would free" : "freed";
  lines.push(`${verb} ${formatBytes(bytesFreed)} (${things}), ${formatBytes(bytesLeft)} left`);
  for (const problem of problems) lines.push(`not deleted: ${problem}`);
  return `${lines.join("\n")}\n`;
}

export function checkedText({ store, checked, faults, recordsElsewhere }: CheckedStore): string {
  const lines = faults.map(({ kind, name, because, repaired }) => {
    const done = repaired ? " (deleted)" : "";
    return `${kind} ${name}: ${because}${done}`;
  });
  if (recordsElsewhere > 0) {
    lines.push(
      `${recordsElsewhere} records are of layers that are not here: no fault, a registry may have them`,
    );
  }
  const left = faults.filter(({ repaired }) => !repaired).length;
  const verdict = left === 0 ? "nothing is damaged" : `${left} damaged or of no use`;
  lines.push(`${store}: ${checked} things, ${verdict}`);
  if (left > 0) lines.push("tsbuild store check --repair deletes them; builds make them anew");
  return `${lines.join("\n")}\n`;
}

function entryTable(entries: readonly StoreEntry[]): readonly string[] {
  const rows = entries.map(({ kind, name, bytes, lastUsed, inUse }) => [
    kind,
    name.length > MOST ? `${name.slice(0, MOST - 1)}…` : name,
    formatBytes(bytes),
    inUse ? "in use" : ago(lastUsed),
  ]);
  return table(["KIND", "NAME", "SIZE", "LAST USED"], rows);
}

function ago(time: Date): string {
  const ms = Date.now() - time.getTime();
  for (const [unit, length] of UNITS) {
    const count = Math.floor(ms / length);
    if (count > 0) return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  }
  return "just now";
}

/** Columns as wide as their widest cell. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const widths = head.map((name, at) =>
    Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)),
  );
  return [head, ...rows].map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
