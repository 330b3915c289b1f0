import { quote } from "../go-values.js";
import type { Dockerfile, Instruction, Stage } from "../types.js";
import { keywordOf, type LintReport } from "./report.js";

const RESERVED: ReadonlySet<string> = new Set(["context", "scratch"]);

/** DuplicateStageName and ReservedStageName. */
export function lintStageNames(stages: readonly Stage[], report: LintReport): void {
  const seen = new Set<string>();
  for (const { name, from } of stages) {
    if (name === undefined) continue;
    const at = { comments: [], span: from.span };
    if (RESERVED.has(name)) {
      const message = `Stage name should not use the same name as reserved stage ${quote(name)}`;
      report.add("ReservedStageName", message, at);
    }
    if (seen.has(name)) {
      const message = `Duplicate stage name ${quote(name)}, stage names should be unique`;
      report.add("DuplicateStageName", message, at);
    }
    seen.add(name);
  }
}

/** MultipleInstructionsDisallowed: of these only the last one counts; the others are reported. */
export function lintRepeated(instructions: readonly Instruction[], report: LintReport): void {
  const last = new Map<string, Instruction>();
  for (const instruction of instructions) {
    const { kind } = instruction;
    if (kind !== "CMD" && kind !== "ENTRYPOINT" && kind !== "HEALTHCHECK") continue;
    const before = last.get(kind);
    if (before !== undefined) {
      const message = `Multiple ${keywordOf(instruction)} instructions should not be used in the same stage because only the last one will be used`;
      report.add("MultipleInstructionsDisallowed", message, instruction, before.span);
    }
    last.set(kind, instruction);
  }
}

/** InvalidDefinitionDescription (experimental): a comment above must begin with the name that it describes. */
export function lintDescriptions(
  { globals, stages }: Pick<Dockerfile, "globals" | "stages">,
  report: LintReport,
): void {
  const all: Instruction[] = [
    ...globals,
    ...stages.flatMap(({ from, instructions }) => [from, ...instructions]),
  ];
  for (const instruction of all) {
    const names = describedNames(instruction);
    const [first] = names;
    const comment = instruction.comments.at(-1);
    if (comment === undefined || first === undefined) continue;
    if (names.includes(comment.split(" ")[0] ?? "")) continue;
    const example = names.length > 1 ? "<arg_key>" : first;
    const message = `Comment for ${instruction.kind} should follow the format: \`# ${example} <description>\``;
    report.add("InvalidDefinitionDescription", message, instruction);
  }
}

function describedNames(instruction: Instruction): readonly string[] {
  if (instruction.kind === "ARG") return instruction.entries.map(({ name }) => name.text);
  return instruction.kind === "FROM" && instruction.as !== undefined ? [instruction.as] : [];
}
