import type { Diagnostic } from "../dockerfile/types.js";
import type { Descriptor } from "../oci/types.js";

/** `stage.instruction`, both from 1 in the order of the plan. */
export type StepId = `${number}.${number}`;

interface At {
  /** Milliseconds since the epoch. */
  readonly time: number;
}
export interface PlannedStep {
  readonly id: StepId;
  readonly stage: string;
  readonly text: string;
}

/** One flat union; every variant is JSON-safe except the chunks of output. */
export type BuildEvent = At &
  (
    | { readonly type: "plan"; readonly steps: readonly PlannedStep[] }
    | {
        readonly type: "step-start";
        readonly step: StepId;
        readonly text: string;
        readonly stage: string;
      }
    | { readonly type: "step-cached"; readonly step: StepId; readonly layer?: Descriptor }
    /** The cache had no layer for the step: why, a line each. */
    | { readonly type: "step-missed"; readonly step: StepId; readonly because: readonly string[] }
    | {
        readonly type: "step-output";
        readonly step: StepId;
        readonly stream: "stdout" | "stderr";
        readonly chunk: Uint8Array;
      }
    | {
        readonly type: "step-done";
        readonly step: StepId;
        readonly layer?: Descriptor;
        readonly ms: number;
      }
    | { readonly type: "step-failed"; readonly step: StepId; readonly message: string }
    | { readonly type: "driver"; readonly name: string; readonly note?: string }
    | {
        readonly type: "transfer";
        readonly id: string;
        readonly direction: "pull" | "push";
        readonly bytes: number;
        readonly total: number | undefined;
      }
    | { readonly type: "warning"; readonly diagnostic: Diagnostic }
    | { readonly type: "notice"; readonly message: string }
    | { readonly type: "done"; readonly image: Descriptor; readonly ms: number }
  );
