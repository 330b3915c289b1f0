import type { PlannedStage } from "../../dockerfile/types.js";
import type { StageState } from "../types.js";
import type { StageBase } from "./types.js";

/** What a stage begins with, for messages; of another stage its own steps tell. */
export function stageBase({ base }: PlannedStage, first: StageState): StageBase | undefined {
  if (base.kind === "stage") return undefined;
  return { name: base.kind === "scratch" ? base.kind : base.name, files: first.chain.key };
}
