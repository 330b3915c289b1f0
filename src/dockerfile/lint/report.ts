import { ruleIsOn } from "../check.js";
import type { CheckOptions, Diagnostic, Instruction, Span } from "../types.js";

/** Gathers the warnings of rules that are on. */
export class LintReport {
  readonly warnings: Diagnostic[] = [];
  readonly #check: CheckOptions;

  constructor(check: CheckOptions) {
    this.#check = check;
  }

  /** `at`: the instruction, whose comments may switch the rule off. */
  add(
    rule: string,
    message: string,
    at: Pick<Instruction, "comments" | "span">,
    span?: Span,
  ): void {
    if (!ruleIsOn(rule, this.#check, at.comments)) return;
    this.warnings.push({ severity: "warning", code: rule, message, span: span ?? at.span });
  }
}

/** An instruction's name as written. */
export function keywordOf(instruction: Pick<Instruction, "text">): string {
  return /^[^\t\v\f\r ]*/.exec(instruction.text)?.[0] ?? "";
}
