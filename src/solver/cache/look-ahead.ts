import { resolveFrom } from "../../dockerfile/index.js";
import { TsbuildError } from "../../errors.js";
import { sourceNames, type ForeseenStage } from "../dry-run.js";
import { remember } from "../remember.js";
import type { SharedServices } from "../services.js";
import { stageName } from "../stage-name.js";
import type { SolveInput, StageInstruction } from "../types.js";
import { definitionOf } from "./key.js";
import { imageDefinition, openFiles } from "./sources.js";
import { chainAfter, orNone, type CacheStep, type StepCache } from "./step-cache.js";
import type { Chain, InputSources } from "./types.js";

export interface AheadInput {
  readonly input: SolveInput;
  readonly shared: SharedServices;
  readonly foreseen: ReadonlyMap<number, ForeseenStage>;
  readonly cache: StepCache | undefined;
}

/** What can be known of the cache before anything is built. */
export interface Ahead {
  /** The stages that something has to be taken from, or built in. */
  readonly needed: ReadonlySet<number>;
  /** Where a stage ends, when that is known already. */
  chain(stage: number): Chain | undefined;
  /** The steps of a stage that make layers, in their order. */
  steps(stage: number): readonly StepAhead[];
}

/** A step that makes a layer, and whether the cache has it. */
export interface StepAhead {
  readonly instruction: StageInstruction;
  /** In its stage, from 1; triggers of the base come after the stage's own. */
  readonly number: number;
  readonly isCached: boolean;
  /** What it is made of, as far as that is known: not where it depends on a command that has to run first. */
  readonly step?: CacheStep;
}

interface Seen {
  readonly chain: Chain | undefined;
  readonly steps: readonly StepAhead[];
  /** Stages that its missing steps read from. */
  readonly needs: readonly number[];
}

/**
 * Looks every step up as far as its key can be known. A stage whose files only cached steps read is not needed: it is
 * never opened. Nothing here is an error: whoever builds the step says what is wrong with it.
 */
export async function lookAhead(ahead: AheadInput): Promise<Ahead> {
  const { foreseen, cache, input } = ahead;
  if (cache === undefined) {
    return { needed: new Set(foreseen.keys()), chain: () => undefined, steps: () => [] };
  }
  const seen = new Map<number, Promise<Seen>>();
  const see = (index: number): Promise<Seen> =>
    remember(seen, index, () => seeStage(index, ahead, { cache, see }));
  const stages = new Map<number, Seen>();
  for (const index of foreseen.keys()) stages.set(index, await see(index));
  const needed = new Set<number>();
  const waiting = [input.plan.target];
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    if (needed.has(index)) continue;
    needed.add(index);
    const base = input.plan.all[index]?.base;
    if (base?.kind === "stage") waiting.push(base.index);
    waiting.push(...(await see(index)).needs);
  }
  return {
    needed,
    chain: (index) => stages.get(index)?.chain,
    steps: (index) => stages.get(index)?.steps ?? [],
  };
}

interface Seeing {
  readonly cache: StepCache;
  readonly see: (index: number) => Promise<Seen>;
}

async function seeStage(index: number, ahead: AheadInput, seeing: Seeing): Promise<Seen> {
  const { input, foreseen } = ahead;
  const stage = foreseen.get(index);
  const planned = input.plan.all[index];
  if (stage === undefined || planned === undefined) {
    throw new TsbuildError("INTERNAL", `stage ${index} was not looked through`);
  }
  const { cache, see } = seeing;
  const { base } = planned;
  let chain = base.kind === "stage" ? (await see(base.index)).chain : stage.first.chain;
  const needs = new Set<number>();
  const steps: StepAhead[] = [];
  const own = planned.stage.instructions.length;
  const triggers = stage.steps.length - own;
  const sources = sourcesAhead(index, ahead, see);
  const reads = cache.reads(stageName(input.plan, index));
  for (const [at, { instruction, effect }] of stage.steps.entries()) {
    if (effect.layer === undefined) continue;
    const number = at < triggers ? own + 1 + at : at - triggers + 1;
    const isRun = instruction.kind === "RUN";
    const { inputs: find } = effect;
    const inputs = chain && find && (await orNone(() => find(sources), input.signal));
    const step = chain && inputs && { inputs, chain, isRun, reads };
    const looked = step && (await orNone(() => cache.look(step), input.signal));
    const isCached = looked?.record !== undefined;
    steps.push({ instruction, number, isCached, ...(step ? { step } : {}) });
    if (step !== undefined && looked?.record !== undefined) {
      chain = chainAfter(step, looked.keys.content, looked.record.layer.diffId);
      continue;
    }
    const content = looked?.keys.content;
    // A command that has to run may make something else than last time: what follows depends on it.
    chain =
      isRun || step === undefined || content === undefined
        ? undefined
        : { ...step.chain, key: content };
    for (const name of sourceNames(instruction)) {
      const from = resolveFrom(input.plan, index, name);
      if (from.kind === "stage") needs.add(from.index);
    }
  }
  return { chain, steps, needs: [...needs] };
}

function sourcesAhead(
  index: number,
  { input, shared }: AheadInput,
  see: (index: number) => Promise<Seen>,
): InputSources {
  const { plan } = input;
  return {
    definition: async (name) => {
      const from = resolveFrom(plan, index, name);
      if (from.kind !== "stage") return imageDefinition(from, input, shared);
      const { chain } = await see(from.index);
      return chain && definitionOf(chain);
    },
    contents: (name) => openFiles(resolveFrom(plan, index, name), input),
  };
}
