import type { ExplainedStep } from "../../index.js";

export function explainText(steps: readonly ExplainedStep[]): string {
  if (steps.length === 0) return "no step makes a layer\n";
  return steps.map((step) => lines(step).join("\n")).join("\n") + "\n";
}

/** Stable: fields may be added. */
export function explainJson(steps: readonly ExplainedStep[]): string {
  const shown = steps.map(({ stage, text, line, isCached, because }) => ({
    stage,
    line,
    text,
    cached: isCached,
    because,
  }));
  return `${JSON.stringify({ steps: shown }, undefined, 2)}\n`;
}

function lines({ stage, text, line, isCached, because }: ExplainedStep): readonly string[] {
  const [first = ""] = text.split("\n");
  const head = `${isCached ? "cached" : "anew  "}  ${stage}:${line}  ${first}`;
  return [head, ...because.map((reason) => `        ${reason}`)];
}
