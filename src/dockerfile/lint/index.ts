import { ruleIsOn } from "../check.js";
import type { Diagnostic, Dockerfile, PlannedStage, Span } from "../types.js";
import { lintFromCasing, lintInstructionCasing } from "./casing.js";
import { lintLegacy, lintMaintainer, lintSecrets } from "./instructions.js";
import { LintReport } from "./report.js";
import { lintDescriptions, lintRepeated, lintStageNames } from "./stages.js";

/**
 * The rules about the file as a whole, which also hold for stages that are not built. As in BuildKit, those that look at
 * more than one instruction are not switched off by a comment at one of them.
 * @param blanks lines without text within an instruction
 */
export function lintFile(
  dockerfile: Omit<Dockerfile, "warnings">,
  blanks: readonly Span[],
  found: readonly Diagnostic[],
): readonly Diagnostic[] {
  const { stages, check } = dockerfile;
  const report = new LintReport(check);
  for (const span of blanks) {
    report.add("NoEmptyContinuation", "Empty continuation line", { comments: [], span });
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

/**
 * What `lintStage` finds once a base image turns out to have left triggers: all that it has not found without them.
 */
export function lintTriggers(
  triggers: PlannedStage["triggers"],
  { stage }: Pick<PlannedStage, "stage">,
  check: Dockerfile["check"],
): readonly Diagnostic[] {
  if (triggers.length === 0) return [];
  const keyOf = ({ code, span }: Diagnostic): string =>
    JSON.stringify([code, span.file.path, span.start]);
  const known = new Set(lintStage({ triggers: [], stage }, check).map(keyOf));
  return lintStage({ triggers, stage }, check).filter((found) => !known.has(keyOf(found)));
}

/** The rules about the instructions of a stage that is built, those that its base left included. */
export function lintStage(
  { triggers, stage }: Pick<PlannedStage, "triggers" | "stage">,
  check: Dockerfile["check"],
): readonly Diagnostic[] {
  const report = new LintReport(check);
  const instructions = [...triggers, ...stage.instructions];
  for (const instruction of instructions) {
    lintLegacy(instruction, report);
    lintSecrets(instruction, report);
  }
  lintRepeated(instructions, report);
  return report.warnings;
}
