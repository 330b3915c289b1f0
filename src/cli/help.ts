import { FLAGS, type FlagSpec } from "./flags.js";

const GROUPS = [
  "Build",
  "Output",
  "Cache",
  "Registry",
  "Environment",
  "Store",
  "Container",
  "Messages",
] as const;

export function helpText(): string {
  const specs: readonly FlagSpec[] = FLAGS;
  const lines = [
    "Usage: tsbuild [build] --context=DIR [--dockerfile=FILE] --destination=REF …",
    "       tsbuild check --context=DIR [--dockerfile=FILE] [--format=json] …",
    "       tsbuild explain --context=DIR [--dockerfile=FILE] [--format=json] …",
    "       tsbuild doctor [--driver=NAME] [--store=DIR] [--format=json]",
    "       tsbuild du [-v] [--store=DIR] [--format=json]",
    "       tsbuild prune [--all] [--keep-storage=SIZE] [--older-than=DURATION] [--filter=type=KIND] [--dry-run]",
    "       tsbuild store check [--repair] [--store=DIR] [--format=json]",
    "",
    "Builds an OCI image from a Dockerfile, without a daemon and without privileges, and pushes it.",
    "check says what is wrong with the Dockerfile, and builds nothing: 0 nothing, 1 warnings, 65 an error.",
    "explain says which steps the cache has, and what has changed where it has not; it builds nothing.",
    "doctor says how steps can run here, what was refused and why, and what would allow it: 0, or 69 if none can.",
    "du says what the store takes, prune makes it smaller, store check says what in it is damaged: 0, or 74.",
  ];
  for (const group of GROUPS) {
    lines.push("", `${group}:`);
    for (const spec of specs.filter((one) => one.group === group)) lines.push(line(spec));
  }
  lines.push(
    "",
    "Exit codes: 0 done; a failed RUN's own code (128 + n for a signal); 64 usage; 65 Dockerfile;",
    "66 context; 69 no driver fits; 70 our fault; 74 store; 75 registry; 77 registry refused; 130 stopped.",
    "",
  );
  return lines.join("\n");
}

function line(spec: FlagSpec): string {
  const short = spec.short === undefined ? "    " : `-${spec.short}, `;
  const value = spec.choices?.join("|") ?? spec.value;
  const left = `  ${short}--${spec.name}${spec.type === "flag" ? "" : `=${value}`}`;
  return left.length < 40
    ? `${left.padEnd(40)}${spec.help}`
    : `${left}\n${" ".repeat(40)}${spec.help}`;
}
