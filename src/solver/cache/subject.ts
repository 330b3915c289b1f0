import type { Instruction } from "../../dockerfile/types.js";
import { TsbuildError } from "../../errors.js";
import type { RecordSubject, StepKind } from "./types.js";

/** A missing kind is a compile error. */
const KINDS: Readonly<Record<StepKind, true>> = { ADD: true, COPY: true, RUN: true, WORKDIR: true };

/** Which step a record is of. @throws TsbuildError INTERNAL for an instruction that makes no layer */
export function subjectOf({ kind, text }: Instruction, stage: string): RecordSubject {
  if (!isStepKind(kind)) throw new TsbuildError("INTERNAL", `${kind} makes no layer`);
  return { kind, instruction: text, stage };
}

/** Whether it makes a layer: the others change the configuration alone. */
export function isStepKind(kind: Instruction["kind"]): kind is StepKind {
  return Object.hasOwn(KINDS, kind);
}
