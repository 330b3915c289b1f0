import type { From, Instruction, Stage } from "../types.js";
import { keywordOf, type LintReport } from "./report.js";

/** FromAsCasing and StageNameCasing. */
export function lintFromCasing(from: From, report: LintReport): void {
  if (from.asText !== undefined && from.asText !== from.as) {
    report.add("StageNameCasing", `Stage name '${from.asText}' should be lowercase`, from);
  }
  const as = /[\t\v\f\r ](as)[\t\v\f\r ]+[^\t\v\f\r ]+$/i.exec(from.text)?.[1];
  const keyword = keywordOf(from);
  if (as === undefined || !isOneCase(keyword)) return;
  const expected = keyword === keyword.toLowerCase() ? as.toLowerCase() : as.toUpperCase();
  if (as !== expected) {
    report.add("FromAsCasing", `'${as}' and '${keyword}' keywords' casing do not match`, from);
  }
}

function isOneCase(name: string): boolean {
  return name === name.toLowerCase() || name === name.toUpperCase();
}

/** ConsistentInstructionCasing: the majority of the file decides, a draw means upper case. */
export function lintInstructionCasing(stages: readonly Stage[], report: LintReport): void {
  const all: Instruction[] = stages.flatMap(({ from, instructions }) => [from, ...instructions]);
  const uniform = all.map(keywordOf).filter(isOneCase);
  const lower = uniform.filter((name) => name === name.toLowerCase()).length;
  const isLower = lower > uniform.length - lower;
  for (const instruction of all) {
    const name = keywordOf(instruction);
    if (name === (isLower ? name.toLowerCase() : name.toUpperCase())) continue;
    const wanted = isLower ? "lowercase" : "uppercase";
    const message = `Command '${name}' should match the case of the command majority (${wanted})`;
    report.add("ConsistentInstructionCasing", message, { comments: [], span: instruction.span });
  }
}
