import { resolveFrom } from "../dockerfile/index.js";
import type { Instruction, PlannedStage } from "../dockerfile/types.js";
import { TsbuildError, messageOf, unreachable } from "../errors.js";
import { scratchImage } from "../oci/image.js";
import type { Descriptor, Image } from "../oci/types.js";
import { cachedStep } from "./cache/cached-step.js";
import { isStepKind } from "./cache/subject.js";
import type { PlannedStep, StepId } from "./events.js";
import { effectOf } from "./handlers.js";
import { LocatedError, locateError } from "./locate-error.js";
import { StageView } from "./stage-view.js";
import { startStage } from "./stage-base.js";
import type { RunServices, StageLabel, StepResult } from "./services.js";
import { stageName } from "./stage-name.js";
import { advance, createdAt } from "./state.js";
import type { StepKey } from "./step-keys.js";
import { createTools } from "./tools.js";
import type { SourceStage, StageInstruction, StageState } from "./types.js";

/** Every step that is foreseen, each once; the triggers of a base image come when it is known. */
export function stageSteps(platforms: readonly RunServices[]): readonly PlannedStep[] {
  const steps = new Map<StepId, PlannedStep>();
  for (const services of platforms) {
    for (const index of services.needed) {
      const { number, name } = services.label(index);
      const { stage } = plannedStage(services, index);
      for (const [at, { text }] of [stage.from, ...stage.instructions].entries()) {
        const id = stepId(number, at);
        if (!steps.has(id)) steps.set(id, { id, stage: name, text });
      }
    }
  }
  return [...steps.values()];
}

function stepId(stage: number, instruction: number): StepId {
  return `${stage}.${instruction + 1}`;
}

/** Runs one stage from its base to its last instruction. */
export async function solveStage(index: number, services: RunServices): Promise<StageState> {
  const { store, worker, signal, emit } = services.input;
  const planned = plannedStage(services, index);
  const sources = async (): Promise<void> => {
    const needs = [...planned.needs].filter((need) => services.needed.includes(need));
    await Promise.all(needs.map((need) => services.stage(need)));
  };
  const { layers, turns } = services;
  await using view = new StageView({ store, layers, worker, turns, sources, signal, emit });
  const stage: RunningStage = { index, planned, services, view, label: services.label(index) };
  const base = { ...services, warn: () => undefined };
  if (!services.needed.includes(index)) announceAll(stage);
  const { state, triggers } = await step(stage, planned.stage.from, 0, async () => ({
    result: await startStage(planned, base),
  }));
  const { instructions } = planned.stage;
  const [, ...keys] = services.keys(index);
  const after = instructions.length + 1;
  if (triggers.length > 0) announce(stage, triggers, after);
  const ready = await follow(stage, { steps: triggers, keys, number: after }, state);
  const own = { steps: instructions, keys: keys.slice(triggers.length), number: 1 };
  return await follow(stage, own, ready);
}

function plannedStage({ input }: RunServices, index: number): PlannedStage {
  const planned = input.plan.all[index];
  if (planned !== undefined) return planned;
  throw new TsbuildError("INTERNAL", `stage ${index} is not part of the plan`);
}

interface RunningStage {
  readonly index: number;
  readonly planned: PlannedStage;
  readonly services: RunServices;
  readonly view: StageView;
  readonly label: StageLabel;
}

function announce(
  { services, label }: RunningStage,
  triggers: readonly Instruction[],
  from: number,
) {
  const steps = triggers.map(({ text }, at) => ({
    id: stepId(label.number, from + at),
    stage: label.name,
    text: `ONBUILD ${text}`,
  }));
  services.input.emit({ type: "plan", steps });
}

/** A stage that nobody thought to be needed: its files were in the cache a moment ago. */
function announceAll({ services, planned, label }: RunningStage): void {
  const { stage } = planned;
  const steps = [stage.from, ...stage.instructions].map(({ text }, at) => ({
    id: stepId(label.number, at),
    stage: label.name,
    text,
  }));
  services.input.emit({ type: "plan", steps });
}

/** Instructions that follow one another, their keys, and the number that the first has in its stage. */
interface Run {
  readonly steps: readonly StageInstruction[];
  readonly keys: readonly StepKey[];
  readonly number: number;
}

async function follow(stage: RunningStage, run: Run, first: StageState): Promise<StageState> {
  let state = first;
  for (const [at, instruction] of run.steps.entries()) {
    const before = state;
    const key = run.keys[at];
    if (key === undefined) throw new TsbuildError("INTERNAL", "a step was not looked through");
    state = await step(stage, instruction, run.number + at, (id) =>
      once(stage, { instruction, key, id, number: run.number + at }, before),
    );
  }
  return state;
}

interface Step {
  readonly instruction: StageInstruction;
  readonly key: StepKey;
  readonly id: StepId;
  readonly number: number;
}

/** Makes a layer, unless another stage makes or has made that very one. */
async function once(stage: RunningStage, at: Step, before: StageState): Promise<Done<StageState>> {
  const { services } = stage;
  // The others change the configuration alone: that is done as soon as it is looked up.
  if (!isStepKind(at.instruction.kind)) {
    return { result: (await instruct(stage, at, before)).state };
  }
  const { result, isShared } = services.once(at.key, () => instruct(stage, at, before));
  const { state, isCached } = await (isShared ? stage.view.waitFor(result) : result);
  const { layers } = state.image;
  const layer = layers.length > before.image.layers.length ? layers.at(-1) : undefined;
  const made = layer === undefined ? {} : { layer: layer.descriptor };
  return { result: state, isFound: isShared || isCached, ...made };
}

async function instruct(
  stage: RunningStage,
  { instruction, key, id, number }: Step,
  state: StageState,
): Promise<StepResult> {
  const { services, view, index } = stage;
  const isExported = services.isExported(key);
  const compress = isExported || isSent(services, instruction);
  const running = {
    view,
    step: id,
    willRun: stage.planned.stage.instructions.some(({ kind }) => kind === "RUN"),
    compress,
    isExported,
    source: (name: string) => source(stage, name),
  };
  // The dry run has said what there is to warn of.
  const tools = createTools({ services, at: instruction, warn: () => undefined, running });
  const effect = await effectOf(instruction, state, tools);
  const { layer } = effect;
  if (layer === undefined) return { state: advance(effect, undefined), isCached: false };
  return cachedStep({
    services,
    index,
    instruction,
    number,
    effect: { ...effect, layer },
    state,
    tools,
    compress,
    isExported,
    now: () => createdNow(services),
    waitFor: (promise) => view.waitFor(promise),
    missed: (because) => services.input.emit({ type: "step-missed", step: id, because }),
  });
}

/** Whether the layer is uploaded with its record. */
function isSent({ cache }: RunServices, { kind }: StageInstruction): boolean {
  return isStepKind(kind) && (cache?.sends(kind) ?? false);
}

interface Done<T> {
  readonly result: T;
  readonly layer?: Descriptor;
  /** Another stage did it, or an earlier build. */
  readonly isFound?: boolean;
}

/** One step as the user sees it: start, end or failure, and the Dockerfile's line in what is thrown. */
async function step<T>(
  { services, label }: RunningStage,
  instruction: Instruction,
  number: number,
  work: (id: StepId) => Promise<Done<T>>,
): Promise<T> {
  const { emit, signal } = services.input;
  const id = stepId(label.number, number);
  const started = performance.now();
  signal.throwIfAborted();
  emit({ type: "step-start", step: id, text: instruction.text, stage: label.name });
  try {
    const { result, layer, isFound } = await work(id);
    const made = layer === undefined ? {} : { layer };
    if (isFound === true) emit({ type: "step-cached", step: id, ...made });
    else emit({ type: "step-done", step: id, ms: performance.now() - started, ...made });
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

function createdNow({ input }: RunServices): string {
  return createdAt(input.options) ?? new Date().toISOString().replace(".000Z", "Z");
}

function source(stage: RunningStage, name: string): SourceStage {
  const { services, index } = stage;
  const { plan, options } = services.input;
  // Whatever the stage's own platform is: as in BuildKit, only a FROM has a --platform.
  const platform = options.targetPlatform;
  const from = resolveFrom(plan, index, name);
  switch (from.kind) {
    case "stage": {
      const image = async (): Promise<Image> =>
        (await stage.view.waitFor(services.stage(from.index))).image;
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
