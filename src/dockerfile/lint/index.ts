import { ruleIsOn } from "../check.js";
import type { LogicalLine } from "../lines.js";
import type { Diagnostic, Dockerfile, PlannedStage, Span, Stage } from "../types.js";
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

/** The rules about the instructions of a stage that is built; `startsWithShell`: what it starts from has set SHELL. */
export function lintStage(
  { instructions, ...stage }: Stage,
  startsWithShell: boolean,
  check: Dockerfile["check"],
): readonly Diagnostic[] {
  const report = new LintReport(check);
  let hasShell = startsWithShell;
  for (const instruction of instructions) {
    if (instruction.kind === "SHELL") hasShell = true;
    lintLegacy(instruction, report);
    lintSecrets(instruction, report);
    lintShellForm(instruction, hasShell, report);
  }
  lintRepeated({ ...stage, instructions }, report);
  return report.warnings;
}

/** The stages that have set SHELL, or start from one that has. */
export function stagesWithShell(all: readonly PlannedStage[]): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { base, stage } of all) {
    const inherits = base.kind === "stage" && found.has(base.index);
    if (inherits || stage.instructions.some(({ kind }) => kind === "SHELL")) found.add(stage.index);
  }
  return found;
}
