import { DockerfileError, lintBasePlatform, resolveFrom } from "../dockerfile/index.js";
import type { Diagnostic, Instruction, PlannedStage } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { formatPlatform, normalizePlatform } from "../oci/platform.js";
import { effectOf } from "./handlers.js";
import { locateError } from "./locate-error.js";
import { remember } from "./remember.js";
import { startStage } from "./stage-base.js";
import type { StageServices } from "./services.js";
import { advance } from "./state.js";
import { baseKey, stepKey, type StepKey } from "./step-keys.js";
import { createTools } from "./tools.js";
import type { Effect, StageInstruction, StageState } from "./types.js";

/**
 * Goes through every stage without making a layer: all words are expanded and all bases found, so that what is wrong
 * with them is said before the first command runs.
 * @throws DockerfileError with everything that is wrong, not the first thing alone
 */
export async function dryRun(services: StageServices): Promise<Foreseen> {
  const { plan } = services.input;
  const run: DryRun = { services, stages: new Map(), warnings: [], errors: [] };
  await prefetchBases(services);
  for (const index of plan.stages.keys()) await foreseeStage(index, run);
  if (run.errors.length > 0) throw new DockerfileError(run.errors);
  const stages = new Map<number, ForeseenStage>();
  for (const [index, stage] of run.stages) stages.set(index, await stage);
  return { warnings: run.warnings, stages };
}

/** What a dry run of one platform found. */
export interface Foreseen {
  /** What the lint rules say of the expanded words. */
  readonly warnings: readonly Diagnostic[];
  /** Triggers of a base image may need stages that the plan did not know to be needed. */
  readonly stages: ReadonlyMap<number, ForeseenStage>;
}

export interface ForeseenStage {
  /** Before the first step. */
  readonly first: StageState;
  /** At the end, without its layers. */
  readonly state: StageState;
  /** The keys of FROM, of the base's triggers and of the instructions. */
  readonly keys: readonly StepKey[];
  /** Triggers and instructions, as far as they can be known without building. */
  readonly steps: readonly ForeseenStep[];
}

export interface ForeseenStep {
  readonly instruction: StageInstruction;
  readonly effect: Effect;
}

interface DryRun {
  readonly services: StageServices;
  readonly stages: Map<number, Promise<ForeseenStage>>;
  readonly warnings: Diagnostic[];
  readonly errors: Diagnostic[];
}

/** All manifests at once; a failure is reported by the stage that needs the image. */
async function prefetchBases(services: StageServices): Promise<void> {
  const { plan, options } = services.input;
  const { targetPlatform } = options;
  const images = [...plan.stages.values()].flatMap(({ stage, base, platform }) => [
    ...(base.kind === "image" ? [services.image(base.name, platform ?? targetPlatform)] : []),
    ...stage.instructions
      .flatMap(sourceNames)
      .map((name) => resolveFrom(plan, stage.index, name))
      .flatMap((from) =>
        from.kind === "image" ? [services.image(from.name, targetPlatform)] : [],
      ),
  ]);
  await Promise.allSettled(images);
}

function foreseeStage(index: number, run: DryRun): Promise<ForeseenStage> {
  return remember(run.stages, index, () => dryStage(index, run));
}

async function dryStage(index: number, run: DryRun): Promise<ForeseenStage> {
  const { services, warnings } = run;
  const { plan, signal } = services.input;
  const planned = plan.all[index];
  if (planned === undefined) throw new TsbuildError("INTERNAL", `there is no stage ${index}`);
  try {
    const { state: first, triggers } = await startStage(planned, {
      ...services,
      stage: async (other) => (await foreseeStage(other, run)).state,
      warn: (found) => warnings.push(...found),
    });
    let state = first;
    const { base } = planned;
    const parent = base.kind === "stage" ? await lastKey(base.index, run) : undefined;
    let key = baseKey(planned, state, parent);
    const keys = [key];
    const steps: ForeseenStep[] = [];
    for (const instruction of [...triggers, ...planned.stage.instructions]) {
      const effect = await dryInstruction(instruction, state, run);
      state = advance(effect, undefined);
      steps.push({ instruction, effect });
      key = stepKey(key, instruction, state, await sourcesOf(instruction, planned, run));
      keys.push(key);
    }
    return { first, state, keys, steps };
  } catch (error) {
    throw locateError(error, planned.stage.from.span, signal);
  }
}

async function dryInstruction(
  instruction: StageInstruction,
  state: StageState,
  { services, warnings, errors }: DryRun,
): Promise<Effect> {
  const tools = createTools({
    services,
    at: instruction,
    warn: (found) => warnings.push(...found),
  });
  try {
    return await effectOf(instruction, state, tools);
  } catch (error) {
    const located = locateError(error, instruction.span, services.input.signal);
    if (!(located instanceof DockerfileError)) throw located;
    errors.push(...located.diagnostics);
    return { state };
  }
}

async function lastKey(stage: number, run: DryRun): Promise<StepKey | undefined> {
  return (await foreseeStage(stage, run)).keys.at(-1);
}

/** What an instruction's `from` means, by definition: of an image, that for the target's platform, as in BuildKit. */
async function sourcesOf(
  instruction: StageInstruction,
  { stage: { index } }: PlannedStage,
  run: DryRun,
): Promise<readonly string[]> {
  const { plan, options } = run.services.input;
  const target = formatPlatform(options.targetPlatform);
  const sources: string[] = [];
  for (const name of sourceNames(instruction)) {
    const from = resolveFrom(plan, index, name);
    if (from.kind === "image") await foreseeSource(from.name, instruction, run);
    const source = from.kind === "stage" ? await lastKey(from.index, run) : [from, target];
    sources.push(JSON.stringify(source));
  }
  return sources;
}

export function sourceNames(instruction: Instruction): readonly string[] {
  const flags =
    instruction.kind === "COPY"
      ? [instruction.from?.value]
      : instruction.kind === "RUN"
        ? instruction.mounts.map((mount) => ("from" in mount ? mount.from : undefined))
        : [];
  return flags.filter((name) => name !== undefined);
}

/** An image that is copied or mounted from has to be there, and should be of the right platform. */
async function foreseeSource(
  name: string,
  instruction: StageInstruction,
  { services, warnings }: DryRun,
): Promise<void> {
  const { plan, options, signal } = services.input;
  const wanted = options.targetPlatform;
  try {
    const { config, layers } = await services.image(name, wanted);
    if (layers.length === 0) return;
    const actual = normalizePlatform(config.platform);
    warnings.push(...lintBasePlatform(name, wanted, actual, instruction, plan.check));
  } catch (error) {
    throw locateError(error, instruction.span, signal);
  }
}
