import type { BuildPlan, ExplainedStep } from "../../index.js";

/** A line for each stage, below it its steps and what becomes of them; then where the result goes. */
export function planText({ steps, pushed, written }: BuildPlan): string {
  const lines: string[] = [];
  let before: ExplainedStep | undefined;
  for (const step of steps) {
    if (!isSameStage(step, before)) lines.push(`${step.stage}: ${firstLine(step.from)}`);
    const { line, text, isCached, because } = step;
    lines.push(`  ${isCached ? "HIT " : "MISS"}  ${String(line).padStart(3)}  ${firstLine(text)}`);
    for (const reason of because) lines.push(`             ${reason}`);
    before = step;
  }
  if (steps.length === 0) lines.push("no step makes a layer");
  for (const reference of pushed) lines.push(`push ${reference}`);
  for (const path of written) lines.push(`write ${path}`);
  return `${lines.join("\n")}\n`;
}

/** The next platform begins with the same stages again. */
function isSameStage(step: ExplainedStep, before: ExplainedStep | undefined): boolean {
  return before !== undefined && before.stage === step.stage && before.line < step.line;
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? "";
}
