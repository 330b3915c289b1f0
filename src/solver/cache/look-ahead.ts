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
import { askAhead, type AskedStep } from "./ask-ahead.js";
import { subjectOf } from "./subject.js";
import type { Chain, InputSources, StepInputs } from "./types.js";

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
  const stages = new Map(
    await Promise.all(
      [...foreseen.keys()].map(async (index) => [index, await see(index)] as const),
    ),
  );
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
  const { see } = seeing;
  const { base } = planned;
  const first = base.kind === "stage" ? (await see(base.index)).chain : stage.first.chain;
  const numbered = stepsAhead(index, stage, ahead, seeing);
  const over = new AbortController();
  const asking = askAhead(numbered, first, seeing.cache, over.signal);
  try {
    return await judge(index, first, { numbered, over }, ahead, seeing);
  } finally {
    over.abort();
    await asking;
  }
}

interface NumberedStep extends AskedStep {
  readonly instruction: StageInstruction;
  /** As of {@link StepAhead}. */
  readonly number: number;
}

function stepsAhead(
  index: number,
  stage: ForeseenStage,
  ahead: AheadInput,
  { cache, see }: Seeing,
): readonly NumberedStep[] {
  const { plan, signal } = ahead.input;
  const name = stageName(plan, index);
  const reads = cache.reads(name);
  const sources = sourcesAhead(index, ahead, see);
  const own = plan.all[index]?.stage.instructions.length ?? 0;
  const triggers = stage.steps.length - own;
  return stage.steps.flatMap(({ instruction, effect }, place): NumberedStep[] => {
    const { layer, inputs: find } = effect;
    if (layer === undefined) return [];
    const about = subjectOf(instruction, name);
    let found: Promise<StepInputs | undefined> | undefined;
    const at = async (chain: Chain): Promise<CacheStep | undefined> => {
      found ??=
        find === undefined ? Promise.resolve(undefined) : orNone(() => find(sources), signal);
      const inputs = await found;
      return inputs && { inputs, chain, about, reads };
    };
    const number = place < triggers ? own + 1 + place : place - triggers + 1;
    return [{ instruction, number, at }];
  });
}

interface Judged {
  readonly numbered: readonly NumberedStep[];
  /** Ended when what follows cannot be known. */
  readonly over: AbortController;
}

/** What of the stage is there, step by step. */
async function judge(
  index: number,
  first: Chain | undefined,
  { numbered, over }: Judged,
  { input }: AheadInput,
  { cache }: Seeing,
): Promise<Seen> {
  let chain = first;
  const needs = new Set<number>();
  const steps: StepAhead[] = [];
  for (const { instruction, number, at } of numbered) {
    const isRun = instruction.kind === "RUN";
    const step = chain && (await at(chain));
    const looked = step && (await orNone(() => cache.look(step), input.signal));
    const isCached = looked?.record !== undefined;
    steps.push({ instruction, number, isCached, ...(step ? { step } : {}) });
    if (step !== undefined && looked?.record !== undefined) {
      chain = chainAfter(step, looked.keys.content, looked.record.layer.diffId);
      continue;
    }
    const content = looked?.keys.content;
    // A command that has to run may make something else than last time: what follows depends on it.
    const isEnd = isRun || step === undefined || content === undefined;
    chain = isEnd ? undefined : { ...step.chain, key: content };
    if (isEnd) over.abort();
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
