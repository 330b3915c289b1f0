import { quote } from "../go-values.js";
import type { Instruction } from "../types.js";
import { keywordOf, type LintReport } from "./report.js";

const SECRET =
  /(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const NO_SECRET = /(?:_|^)(?:public|file|version)(?:_|$)/i;

/** Whether a variable's name says that its value is secret (the rule SecretsUsedInArgOrEnv). */
export function isSecretName(name: string): boolean {
  return SECRET.test(name) && !NO_SECRET.test(name);
}

/** MaintainerDeprecated. */
export function lintMaintainer(instruction: Instruction, report: LintReport): void {
  if (instruction.kind !== "MAINTAINER") return;
  const message = "Maintainer instruction is deprecated in favor of using label";
  report.add("MaintainerDeprecated", message, instruction);
}

/** LegacyKeyValueFormat. */
export function lintLegacy(instruction: Instruction, report: LintReport): void {
  if (instruction.kind !== "ENV" && instruction.kind !== "LABEL") return;
  if (!instruction.legacy) return;
  const name = keywordOf(instruction);
  const message = `"${name} key=value" should be used instead of legacy "${name} key value" format`;
  report.add("LegacyKeyValueFormat", message, instruction);
}

/** SecretsUsedInArgOrEnv. */
export function lintSecrets(instruction: Instruction, report: LintReport): void {
  if (instruction.kind !== "ENV" && instruction.kind !== "ARG") return;
  for (const { name } of instruction.entries) {
    if (!isSecretName(name.text)) continue;
    const what = `${instruction.kind} ${quote(name.text)}`;
    const message = `Do not use ARG or ENV instructions for sensitive data (${what})`;
    report.add("SecretsUsedInArgOrEnv", message, instruction, name.span);
  }
}
