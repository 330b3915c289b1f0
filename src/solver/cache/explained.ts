import { locate } from "../../dockerfile/index.js";
import type { ForeseenStage } from "../dry-run.js";
import type { SharedServices } from "../services.js";
import { stageName } from "../stage-name.js";
import type { SolveInput } from "../types.js";
import { whyMissed } from "./explain.js";
import { lookAhead, type StepAhead } from "./look-ahead.js";
import { stageBase } from "./stage-base.js";
import type { StepCache } from "./step-cache.js";

/** What a build would do with a step that makes a layer. */
export interface ExplainedStep {
  readonly stage: string;
  /** The stage's FROM as it is written. */
  readonly from: string;
  /** The instruction as it is written. */
  readonly text: string;
  /** Of the Dockerfile, from 1. */
  readonly line: number;
  readonly isCached: boolean;
  /** Why it is not, a line each. */
  readonly because: readonly string[];
}

export interface ExplainInput {
  readonly input: SolveInput;
  readonly shared: SharedServices;
  readonly foreseen: ReadonlyMap<number, ForeseenStage>;
  readonly cache: StepCache;
}

/** The steps of the stages that would be opened, in the order of the Dockerfile. Builds nothing, and remembers nothing. */
export async function explainSteps(ahead: ExplainInput): Promise<readonly ExplainedStep[]> {
  const seen = await lookAhead(ahead);
  const explained: ExplainedStep[] = [];
  for (const index of [...seen.needed].toSorted((a, b) => a - b)) {
    const { plan } = ahead.input;
    const stage = stageName(plan, index);
    const from = plan.all[index]?.stage.from.text ?? "";
    for (const step of seen.steps(index)) {
      const { text, span } = step.instruction;
      const because = step.isCached ? [] : await reasons(index, step, ahead);
      const { line } = locate(span);
      explained.push({ stage, from, text, line, isCached: step.isCached, because });
    }
  }
  return explained;
}

async function reasons(
  index: number,
  { instruction, number, step }: StepAhead,
  { input, foreseen, cache }: ExplainInput,
): Promise<readonly string[]> {
  if (step === undefined) return ["it depends on a step that has to be made first"];
  if (!step.reads) return ["the cache is not to be used for it"];
  if (input.cache === undefined) return ["there is no cache"];
  const { memory, scope } = input.cache;
  const { inputs, chain } = step;
  const planned = input.plan.all[index];
  const first = foreseen.get(index)?.first;
  const base = planned && first && stageBase(planned, first);
  const isFirst = base?.files === chain.key;
  const place = { scope, stage: stageName(input.plan, index), text: instruction.text, number };
  const digests = await Promise.all(inputs.contents.map((content) => cache.knownDigest(content)));
  return whyMissed({ place, chain, inputs, digests, ...(isFirst ? { base } : {}) }, memory);
}
