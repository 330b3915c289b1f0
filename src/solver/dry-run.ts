import { DockerfileError } from "../dockerfile/index.js";
import type { Diagnostic } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { effectOf } from "./handlers.js";
import { locateError } from "./locate-error.js";
import { startStage } from "./stage-base.js";
import type { StageServices } from "./services.js";
import { advance } from "./state.js";
import { createTools } from "./tools.js";
import type { StageInstruction, StageState } from "./types.js";

/**
 * Goes through every stage without making a layer: all words are expanded and all bases found, so that what is wrong
 * with them is said before the first command runs.
 * @returns what the lint rules say of the expanded words
 * @throws DockerfileError with everything that is wrong, not the first thing alone
 */
export async function dryRun(services: StageServices): Promise<readonly Diagnostic[]> {
  const { plan } = services.input;
  const run: DryRun = { services, states: new Map(), warnings: [], errors: [] };
  await prefetchBases(services);
  for (const index of plan.stages.keys()) run.states.set(index, await dryStage(index, run));
  if (run.errors.length > 0) throw new DockerfileError(run.errors);
  return run.warnings;
}

interface DryRun {
  readonly services: StageServices;
  readonly states: Map<number, StageState>;
  readonly warnings: Diagnostic[];
  readonly errors: Diagnostic[];
}

/** All manifests at once; a failure is reported by the stage that needs the image. */
async function prefetchBases(services: StageServices): Promise<void> {
  const { plan, options } = services.input;
  const names = [...plan.stages.values()].flatMap(({ base, platform }) =>
    base.kind === "image" ? [services.image(base.name, platform ?? options.targetPlatform)] : [],
  );
  await Promise.allSettled(names);
}

async function dryStage(index: number, run: DryRun): Promise<StageState> {
  const { services, states, warnings } = run;
  const { plan, signal } = services.input;
  const planned = plan.all[index];
  if (planned === undefined) throw new TsbuildError("INTERNAL", `there is no stage ${index}`);
  const stageOf = (other: number): Promise<StageState> => {
    const state = states.get(other);
    if (state !== undefined) return Promise.resolve(state);
    throw new TsbuildError("INTERNAL", `stage ${other} is not part of the plan`);
  };
  try {
    const { state: first, triggers } = await startStage(planned, {
      ...services,
      stage: stageOf,
      warn: (found) => warnings.push(...found),
    });
    let state = first;
    for (const instruction of [...triggers, ...planned.stage.instructions]) {
      state = await dryInstruction(instruction, state, index, run);
    }
    return state;
  } catch (error) {
    throw locateError(error, planned.stage.from.span, signal);
  }
}

async function dryInstruction(
  instruction: StageInstruction,
  state: StageState,
  index: number,
  { services, warnings, errors }: DryRun,
): Promise<StageState> {
  const tools = createTools({
    services,
    index,
    at: instruction,
    warn: (found) => warnings.push(...found),
  });
  try {
    return advance(await effectOf(instruction, state, tools), undefined, "");
  } catch (error) {
    const located = locateError(error, instruction.span, services.input.signal);
    if (!(located instanceof DockerfileError)) throw located;
    errors.push(...located.diagnostics);
    return state;
  }
}
