import type { Run } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import type { StepMount } from "../worker/sandbox/types.js";
import type { StageState, Tools } from "./types.js";

/** What a step's `--mount` flags become; disposing gives locks and temporary files back. */
export interface PreparedMounts extends AsyncDisposable {
  readonly mounts: readonly StepMount[];
  /** Secrets that are given as variables. */
  readonly env: ReadonlyMap<string, string>;
}

export async function runMounts(
  instruction: Run,
  _state: StageState,
  _tools: Tools,
): Promise<PreparedMounts> {
  const [first] = instruction.mounts;
  if (first !== undefined) {
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `RUN --mount=type=${first.type} is not supported yet`,
    );
  }
  return { mounts: [], env: new Map(), [Symbol.asyncDispose]: () => Promise.resolve() };
}
