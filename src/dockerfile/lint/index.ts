import { ruleIsOn } from "../check.js";
import type { LogicalLine } from "../lines.js";
import type { Diagnostic, Dockerfile, PlannedStage, Span } from "../types.js";
import { lintFromCasing, lintInstructionCasing } from "./casing.js";
import { lintLegacy, lintMaintainer, lintSecrets, lintShellForm } from "./instructions.js";
import { LintReport } from "./report.js";
import { lintDescriptions, lintRepeated, lintStageNames } from "./stages.js";

/** A blank line within an instruction. */
export interface Blank {
  readonly line: LogicalLine;
  readonly span: Span;
}

/** The rules about the file as a whole, which also hold for stages that are not built. */
export function lintFile(
  dockerfile: Omit<Dockerfile, "warnings">,
  blanks: readonly Blank[],
  found: readonly Diagnostic[],
): readonly Diagnostic[] {
  const { stages, check } = dockerfile;
  const report = new LintReport(check);
  for (const { line, span } of blanks) {
    const at = { comments: line.comments, span };
    report.add("NoEmptyContinuation", "Empty continuation line", at);
  }
  for (const { from, instructions } of stages) {
    lintFromCasing(from, report);
    for (const instruction of instructions) lintMaintainer(instruction, report);
  }
  lintDescriptions(dockerfile, report);
  lintStageNames(stages, report);
  lintInstructionCasing(stages, report);
  const kept = found.filter(({ code }) => ruleIsOn(code, check, []));
  return [...kept, ...report.warnings].toSorted((a, b) => a.span.start - b.span.start);
}

/** The rules about the instructions of a stage that is built. `all`: every stage, for the SHELL of its base. */
export function lintStage(
  planned: PlannedStage,
  all: readonly PlannedStage[],
  check: Dockerfile["check"],
): readonly Diagnostic[] {
  const report = new LintReport(check);
  let hasShell = inheritsShell(planned, all);
  for (const instruction of planned.stage.instructions) {
    if (instruction.kind === "SHELL") hasShell = true;
    lintLegacy(instruction, report);
    lintSecrets(instruction, report);
    lintShellForm(instruction, hasShell, report);
  }
  lintRepeated(planned.stage, report);
  return report.warnings;
}

function inheritsShell(planned: PlannedStage, all: readonly PlannedStage[]): boolean {
  let { base } = planned;
  while (base.kind === "stage") {
    const below = all[base.index];
    if (below === undefined) return false;
    if (below.stage.instructions.some(({ kind }) => kind === "SHELL")) return true;
    base = below.base;
  }
  return false;
}
