import type { StagePlan } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { formatPlatform } from "../oci/platform.js";
import { lookAhead, type Ahead } from "./cache/look-ahead.js";
import { stageBase } from "./cache/stage-base.js";
import type { StepCache } from "./cache/step-cache.js";
import type { StageBase } from "./cache/types.js";
import type { Foreseen } from "./dry-run.js";
import { remember } from "./remember.js";
import type { Once, RunServices, SharedServices, StageLabel, StepResult } from "./services.js";
import { solveStage } from "./stage.js";
import { stageName } from "./stage-name.js";
import type { StepKey } from "./step-keys.js";
import type { SolveInput, StageState } from "./types.js";
import { createViewTurns } from "./view-turns.js";

/** One platform: its stages and what is known of their steps. */
interface Known {
  readonly input: SolveInput;
  readonly stages: Foreseen["stages"];
  readonly ahead: Ahead;
}

/**
 * The services of each platform's stages. A stage whose steps are the same for several platforms is one stage, and a step
 * that stages have in common is done by the first that comes to it.
 */
export async function openRunServices(
  inputs: readonly SolveInput[],
  shared: SharedServices,
  foreseen: readonly Foreseen[],
  cache: StepCache | undefined,
): Promise<readonly RunServices[]> {
  const platforms = await Promise.all(
    inputs.map(async (input, at): Promise<Known> => {
      const stages = stagesAt(foreseen, at);
      return { input, stages, ahead: await lookAhead({ input, shared, foreseen: stages, cache }) };
    }),
  );
  const exported = new Set(platforms.flatMap(exportedKeys));
  const stages = new Map<string, Promise<StageState>>();
  const steps = new Map<StepKey, Promise<StepResult>>();
  const once = (key: StepKey, make: () => Promise<StepResult>): Once => {
    const isShared = steps.has(key);
    return { result: remember(steps, key, make), isShared };
  };
  const count = platforms.reduce((sum, { stages: { size } }) => sum + size, 0);
  const turns = createViewTurns(count);
  return platforms.map((platform): RunServices => {
    const services: RunServices = {
      ...shared,
      turns,
      input: platform.input,
      needed: [...platform.ahead.needed].toSorted((a, b) => a - b),
      cache,
      chainAhead: (index) => platform.ahead.chain(index),
      base: (index) => baseOf(platform, index),
      stage: (index) =>
        remember(stages, stageKey(platform, index), () => solveStage(index, services)),
      label: (index) => labelOf(platform, index, platforms),
      keys: (index) => keysOf(platform, index),
      isExported: (key) => exported.has(key),
      once,
    };
    return services;
  });
}

function stagesAt(foreseen: readonly Foreseen[], at: number): Foreseen["stages"] {
  const stages = foreseen[at]?.stages;
  if (stages === undefined) throw new TsbuildError("INTERNAL", "a platform was not looked through");
  return stages;
}

function keysOf({ stages }: Known, index: number): readonly StepKey[] {
  const known = stages.get(index);
  if (known !== undefined) return known.keys;
  throw new TsbuildError("INTERNAL", `stage ${index} is not part of the plan`);
}

/** Of two stages with the same steps each keeps its name, so the number belongs to it. */
function stageKey(platform: Known, index: number): string {
  return `${index} ${keysOf(platform, index).at(-1)}`;
}

function baseOf({ input, stages }: Known, index: number): StageBase | undefined {
  const planned = input.plan.all[index];
  const first = stages.get(index)?.first;
  return planned && first && stageBase(planned, first);
}

/** A stage has the number that it has for the first of its platforms. */
function labelOf(platform: Known, index: number, platforms: readonly Known[]): StageLabel {
  const key = stageKey(platform, index);
  const owners = platforms.filter(
    (other) => other.stages.has(index) && stageKey(other, index) === key,
  );
  const first = owners[0] === undefined ? 0 : platforms.indexOf(owners[0]);
  const { plan } = platform.input;
  const name = stageName(plan, index);
  const number = first * plan.all.length + index + 1;
  if (owners.length === platforms.length) return { number, name };
  const names = owners.map(({ input }) => formatPlatform(input.options.targetPlatform));
  return { number, name: `${names.join(",")} ${name}` };
}

/** The target and the stages that it is made from: their layers leave the machine, so theirs are compressed. */
function exportedKeys(platform: Known): readonly StepKey[] {
  // What leaves is one layer, made of all of them.
  if (platform.input.options.singleSnapshot === true) return [];
  const { plan } = platform.input;
  const exported: StepKey[] = [];
  for (let index: number | undefined = plan.target; index !== undefined;) {
    exported.push(...keysOf(platform, index));
    const base: StagePlan["all"][number]["base"] | undefined = plan.all[index]?.base;
    index = base?.kind === "stage" ? base.index : undefined;
  }
  return exported;
}
