import { parseTrigger, resolveFrom } from "../dockerfile/index.js";
import type { Instruction, PlannedStage, StagePlan } from "../dockerfile/types.js";
import { TsbuildError, messageOf, unreachable } from "../errors.js";
import type { Semaphore } from "../internal/semaphore.js";
import type { SealedLayer } from "../layer/types.js";
import { scratchImage } from "../oci/image.js";
import type { Image, Platform } from "../oci/types.js";
import type { PlannedStep, StepId } from "./events.js";
import { effectOf } from "./handlers.js";
import type { Layers } from "./layers.js";
import { locateError } from "./locate-error.js";
import { StageView } from "./stage-view.js";
import { advance, initialState } from "./state.js";
import { createTools } from "./tools.js";
import type { SolveInput, SourceStage, StageInstruction, StageState } from "./types.js";

/** What stages share. */
export interface StageServices {
  readonly input: SolveInput;
  readonly layers: Layers;
  readonly exported: ReadonlySet<number>;
  /** How many steps run at once. */
  readonly steps: Semaphore;
  stage(index: number): Promise<StageState>;
  image(name: string, platform: Platform): Promise<Image>;
}

/** Every step that the plan foresees; the triggers of a base image come when it is known. */
export function stageSteps(plan: StagePlan): readonly PlannedStep[] {
  return [...plan.stages].flatMap(([index, { stage }]) =>
    [stage.from, ...stage.instructions].map((instruction, at) => ({
      id: stepId(index, at),
      stage: stageName(plan, index),
      text: instruction.text,
    })),
  );
}

function stepId(stage: number, instruction: number): StepId {
  return `${stage + 1}.${instruction + 1}`;
}

export function stageName(plan: StagePlan, index: number): string {
  return plan.all[index]?.stage.name ?? `stage-${index}`;
}

/** Runs one stage from its base to its last instruction. */
export async function solveStage(index: number, services: StageServices): Promise<StageState> {
  const { plan, store, worker, signal } = services.input;
  const planned = plan.all[index];
  if (planned === undefined) {
    throw new TsbuildError("INTERNAL", `stage ${index} is not part of the plan`);
  }
  await using view = new StageView({ store, layers: services.layers, worker, signal });
  const stage: RunningStage = { index, planned, services, view };
  const { state: first, onBuild } = await base(stage);
  const triggers = onBuild.map((trigger) => parseTrigger(trigger, "ONBUILD"));
  const { instructions } = planned.stage;
  if (triggers.length > 0) announce(stage, triggers, instructions.length + 1);
  const ready = await follow(stage, triggers, first, instructions.length + 1);
  return await follow(stage, instructions, ready, 1);
}

interface RunningStage {
  readonly index: number;
  readonly planned: PlannedStage;
  readonly services: StageServices;
  readonly view: StageView;
}

function announce(stage: RunningStage, triggers: readonly Instruction[], from: number): void {
  const { plan, emit } = stage.services.input;
  const steps = triggers.map(({ text }, at) => ({
    id: stepId(stage.index, from + at),
    stage: stageName(plan, stage.index),
    text: `ONBUILD ${text}`,
  }));
  emit({ type: "plan", steps });
}

/** The FROM: the state that the stage starts with, and the triggers that wait in it. */
async function base(
  stage: RunningStage,
): Promise<{ readonly state: StageState; readonly onBuild: readonly string[] }> {
  const { planned, services } = stage;
  return step(stage, planned.stage.from, 0, async () => {
    const { options } = services.input;
    const platform = planned.platform ?? options.targetPlatform;
    const from = planned.base;
    if (from.kind === "stage") {
      const parent = await services.stage(from.index);
      const state = initialState(parent.image, parent.platform, parent);
      return { state, onBuild: parent.image.config.onBuild };
    }
    const image =
      from.kind === "scratch" ? scratchImage(platform) : await services.image(from.name, platform);
    return { state: initialState(image, platform, undefined), onBuild: image.config.onBuild };
  });
}

async function follow(
  stage: RunningStage,
  instructions: readonly StageInstruction[],
  first: StageState,
  number: number,
): Promise<StageState> {
  let state = first;
  for (const [at, instruction] of instructions.entries()) {
    const before = state;
    state = await step(stage, instruction, number + at, (finish) =>
      instruct(stage, instruction, before, stepId(stage.index, number + at), finish),
    );
  }
  return state;
}

type Finish = (layer: SealedLayer) => void;

async function instruct(
  stage: RunningStage,
  instruction: StageInstruction,
  state: StageState,
  id: StepId,
  finish: Finish,
): Promise<StageState> {
  const { services, view, index } = stage;
  const willRun = stage.planned.stage.instructions.some(({ kind }) => kind === "RUN");
  const tools = createTools({
    services,
    view,
    step: id,
    index,
    willRun,
    source: (from) => source(stage, from.name),
  });
  const effect = await effectOf(instruction, state, tools);
  if (effect.layer === undefined) return advance(effect, undefined, createdNow(services));
  const layer = await effect.layer();
  finish(layer);
  return advance(effect, layer, createdNow(services));
}

/** One step as the user sees it: start, end or failure, and the Dockerfile's line in what is thrown. */
async function step<T>(
  stage: RunningStage,
  instruction: Instruction,
  number: number,
  work: (finish: Finish) => Promise<T>,
): Promise<T> {
  const { emit, plan, signal } = stage.services.input;
  const id = stepId(stage.index, number);
  const started = performance.now();
  signal.throwIfAborted();
  emit({
    type: "step-start",
    step: id,
    text: instruction.text,
    stage: stageName(plan, stage.index),
  });
  let layer: SealedLayer | undefined;
  try {
    const result = await work((made) => {
      layer = made;
    });
    const ms = performance.now() - started;
    const made = layer === undefined ? {} : { layer: layer.descriptor };
    emit({ type: "step-done", step: id, ms, ...made });
    return result;
  } catch (error) {
    const located = locateError(error, instruction.span, signal);
    emit({ type: "step-failed", step: id, message: messageOf(located) });
    throw located;
  }
}

function createdNow({ input }: StageServices): string {
  const epoch = input.options.sourceDateEpoch;
  const date = epoch === undefined ? new Date() : new Date(epoch * 1000);
  // As Go prints it: no fraction where there is none.
  return date.toISOString().replace(".000Z", "Z");
}

async function source(stage: RunningStage, name: string): Promise<SourceStage> {
  const { services, planned, index } = stage;
  const { plan, options } = services.input;
  const from = resolveFrom(plan, index, name);
  switch (from.kind) {
    case "stage": {
      const { image } = await services.stage(from.index);
      return { name: `stage ${stageName(plan, from.index)}`, image };
    }
    case "image": {
      const platform = planned.platform ?? options.targetPlatform;
      return { name: from.name, image: await services.image(from.name, platform) };
    }
    case "scratch":
      return { name: "scratch", image: scratchImage(options.targetPlatform) };
    case "context":
      throw new TsbuildError(
        "DOCKERFILE_INVALID",
        `named context "${from.name}" is not supported yet`,
      );
    default:
      return unreachable(from);
  }
}
