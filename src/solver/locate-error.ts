import { DockerfileError, renderDiagnostic } from "../dockerfile/index.js";
import type { Span } from "../dockerfile/types.js";
import { TsbuildError, messageOf } from "../errors.js";

/** The same failure, with the Dockerfile's line and what it says. Errors that carry their own place are left as they are. */
export function locateError(error: unknown, span: Span, signal: AbortSignal): unknown {
  if (error instanceof DockerfileError || error instanceof LocatedError) return error;
  if (signal.aborted) return error;
  const known = error instanceof TsbuildError ? error : undefined;
  const message = renderDiagnostic({
    severity: "error",
    code: "step-failed",
    message: messageOf(error),
    span,
  });
  const tail = error instanceof StepFailure ? error.tail : "";
  const shown = tail === "" ? message : `${message}\nlast output:\n${indent(tail)}`;
  return new LocatedError(known?.code ?? "INTERNAL", shown, {
    cause: error,
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
    ...(known === undefined ? {} : { exitCode: known.exitCode }),
  });
}

/** A failed step's error; its cause is what the step threw. */
export class LocatedError extends TsbuildError {}

/** A command that failed, with the last lines that it wrote. */
export class StepFailure extends TsbuildError {
  readonly tail: string;

  constructor(message: string, exitCode: number, tail: string) {
    super("RUN_FAILED", message, { exitCode });
    this.tail = tail;
  }
}

function indent(text: string): string {
  return text.replace(/^/gm, "   | ");
}
