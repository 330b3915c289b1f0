import type { StagePlan } from "../dockerfile/types.js";

/** What a stage is called in messages: its name, or its number from 0. */
export function stageName(plan: StagePlan, index: number): string {
  return plan.all[index]?.stage.name ?? `stage-${index}`;
}
