import { resolveFrom } from "../dockerfile/index.js";
import type { Instruction, PlannedStage, StagePlan } from "../dockerfile/types.js";
import { TsbuildError, messageOf, unreachable } from "../errors.js";
import type { SealedLayer } from "../layer/types.js";
import { scratchImage } from "../oci/image.js";
import type { Image } from "../oci/types.js";
import type { PlannedStep, StepId } from "./events.js";
import { effectOf } from "./handlers.js";
import { LocatedError, locateError } from "./locate-error.js";
import { StageView } from "./stage-view.js";
import { startStage } from "./stage-base.js";
import type { StageServices } from "./services.js";
import { advance, createdAt } from "./state.js";
import { createTools } from "./tools.js";
import type { SourceStage, StageInstruction, StageState } from "./types.js";

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
  const { plan, store, worker, signal, emit } = services.input;
  const planned = plan.all[index];
  if (planned === undefined) {
    throw new TsbuildError("INTERNAL", `stage ${index} is not part of the plan`);
  }
  await using view = new StageView({ store, layers: services.layers, worker, signal, emit });
  const stage: RunningStage = { index, planned, services, view };
  const base = { ...services, warn: () => undefined };
  const { state, triggers } = await step(stage, planned.stage.from, 0, () =>
    startStage(planned, base),
  );
  const { instructions } = planned.stage;
  if (triggers.length > 0) announce(stage, triggers, instructions.length + 1);
  const ready = await follow(stage, triggers, state, instructions.length + 1);
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
  const running = { view, step: id, willRun, source: (name: string) => source(stage, name) };
  // The dry run has said what there is to warn of.
  const tools = createTools({ services, index, at: instruction, warn: () => undefined, running });
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
    // Of all the steps that end now, only the one that failed says why.
    const stopped = signal.aborted || error instanceof LocatedError;
    const message = stopped ? "stopped" : messageOf(located);
    emit({ type: "step-failed", step: id, message });
    throw located;
  }
}

function createdNow({ input }: StageServices): string {
  return createdAt(input.options) ?? new Date().toISOString().replace(".000Z", "Z");
}

function source(stage: RunningStage, name: string): SourceStage {
  const { services, planned, index } = stage;
  const { plan, options } = services.input;
  const platform = planned.platform ?? options.targetPlatform;
  const from = resolveFrom(plan, index, name);
  switch (from.kind) {
    case "stage": {
      const image = async (): Promise<Image> => (await services.stage(from.index)).image;
      return { name: `stage ${stageName(plan, from.index)}`, image };
    }
    case "image":
      return { name: from.name, image: () => services.image(from.name, platform) };
    case "scratch":
      return { name, image: () => Promise.resolve(scratchImage(platform)) };
    case "context": {
      const context = services.input.contexts.get(from.name);
      const image = (): Promise<Image> => services.contextImage(from.name, platform);
      const files = context?.kind === "files" ? { files: context.open } : {};
      return { name: `context ${from.name}`, image, ...files };
    }
    default:
      return unreachable(from);
  }
}
