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
  return new LocatedError(known?.code ?? "INTERNAL", message, {
    cause: error,
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
    ...(known === undefined ? {} : { exitCode: known.exitCode }),
  });
}

/** A failed step's error; its cause is what the step threw. */
export class LocatedError extends TsbuildError {}
