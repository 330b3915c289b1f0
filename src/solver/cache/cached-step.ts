import type { SealedLayer } from "../../layer/types.js";
import { resolveFrom } from "../../dockerfile/index.js";
import type { RunServices, StepResult } from "../services.js";
import { advance, type MadeLayer } from "../state.js";
import { stageName } from "../stage-name.js";
import { sealOptions } from "../tools.js";
import type { Effect, StageInstruction, StageState, Tools } from "../types.js";
import { cachedLayer } from "./cached-layer.js";
import { rememberStep, whyMissed, type StepSubject } from "./explain.js";
import { definitionOf } from "./key.js";
import { isLossy } from "./lossy.js";
import { imageDefinition } from "./sources.js";
import { chainAfter, orNone, type CacheStep, type Looked, type StepCache } from "./step-cache.js";
import { subjectOf } from "./subject.js";
import type { InputSources, LayerRecord, RecordSubject } from "./types.js";

/** A step of a running stage. */
export interface StepInput {
  readonly services: RunServices;
  /** Of the stage. */
  readonly index: number;
  readonly instruction: StageInstruction;
  /** In its stage, from 1. */
  readonly number: number;
  readonly effect: Effect & { readonly layer: () => Promise<SealedLayer> };
  /** Before the step. */
  readonly state: StageState;
  readonly tools: Tools;
  /** Whether a layer that is made is compressed. */
  readonly compress: boolean;
  /** Whether the layer is, or may become, one of the result. */
  readonly isExported: boolean;
  /** RFC 3339: now, or the build's SOURCE_DATE_EPOCH. */
  readonly now: () => string;
  /** Waits for another stage without keeping it from having a root. */
  readonly waitFor: <T>(promise: Promise<T>) => Promise<T>;
  /** Says why the step was not found. */
  readonly missed: (because: readonly string[]) => void;
}

/** Takes the step's layer from the cache, or makes it and keeps it there. */
export async function cachedStep(step: StepInput): Promise<StepResult> {
  const { services, effect, state } = step;
  const { cache } = services;
  const asked = cache && (await ask(step, cache));
  if (cache === undefined || asked === undefined) {
    const layer = await effect.layer();
    const about = aboutOf(step);
    const chain = chainAfter({ chain: state.chain, about }, undefined, layer.diffId);
    return { state: advance(effect, madeOf(layer, step.now(), chain)), isCached: false };
  }
  const { looked } = asked;
  const found = looked.record && (await take(step, asked, looked.record, cache));
  if (found !== undefined) return { state: advance(effect, found), isCached: true };
  await sayWhy(step, asked, cache);
  const begun = Date.now();
  const layer = await effect.layer();
  const created = step.now();
  const keys = looked.isUnread === true ? await cache.keysAfter(asked, begun) : looked.keys;
  await cache.save(asked, keys, await recordOf(step, layer, created), aboutOf(step));
  await keepWhy(step, asked, cache);
  const chain = chainAfter(asked, keys.content, layer.diffId);
  return { state: advance(effect, madeOf(layer, created, chain)), isCached: false };
}

interface Asked extends CacheStep {
  readonly looked: Looked;
}

async function ask(step: StepInput, cache: StepCache): Promise<Asked | undefined> {
  const { effect, services, index, state } = step;
  const { signal, plan } = services.input;
  const { inputs: find } = effect;
  if (find === undefined) return undefined;
  const inputs = await orNone(() => find(sourcesOf(step)), signal);
  if (inputs === undefined) return undefined;
  const reads = cache.reads(stageName(plan, index));
  const asked = { inputs, chain: state.chain, about: aboutOf(step), reads };
  const looked = await orNone(() => cache.look(asked), signal);
  return looked && { ...asked, looked };
}

function madeOf(
  { descriptor, diffId }: SealedLayer,
  created: string,
  chain: MadeLayer["chain"],
): MadeLayer {
  return { layer: { descriptor, diffId }, created, chain };
}

/** `undefined`: the record is there, but not the layer. */
async function take(
  step: StepInput,
  asked: Asked,
  record: LayerRecord,
  cache: StepCache,
): Promise<MadeLayer | undefined> {
  const { services, compress, isExported, state } = step;
  const { options, store, signal } = services.input;
  const { keys } = asked.looked;
  const seal = sealOptions(options, compress, state.image.format);
  const found = await cachedLayer(record, {
    layers: services.layers,
    store,
    seal,
    leaves: isExported && options.staysHere !== true,
    signal,
  });
  if (found === undefined) return undefined;
  if (found.isNew) {
    const { origin: _, open: __, level: ___, ...rest } = record;
    const level = seal.level === undefined ? {} : { level: seal.level };
    await cache.save(asked, keys, { ...rest, ...level, layer: found.sealed }, aboutOf(step));
  } else {
    await cache.point(keys, aboutOf(step));
  }
  const chain = chainAfter(asked, keys.content, record.layer.diffId);
  const created = options.sourceDateEpoch === undefined ? record.created : step.now();
  return { layer: found.layer, created, chain };
}

async function recordOf(
  step: StepInput,
  layer: SealedLayer,
  created: string,
): Promise<LayerRecord> {
  const { services, state, instruction, compress } = step;
  const { options, worker } = services.input;
  const { level } = sealOptions(options, compress, state.image.format);
  const driver = instruction.kind === "RUN" ? (await worker()).host.driver : undefined;
  return {
    kind: "layer",
    layer,
    runs: state.chain.runs,
    // Whatever the image is to say of its time: a record's age counts.
    created: options.sourceDateEpoch === undefined ? created : new Date().toISOString(),
    ...(level === undefined ? {} : { level }),
    ...(driver !== undefined && isLossy(driver) ? { driver } : {}),
  };
}

async function sayWhy(step: StepInput, asked: Asked, cache: StepCache): Promise<void> {
  const { memory } = step.services.input.cache ?? {};
  if (memory === undefined) return;
  const because = cache.because(asked.looked.keys);
  if (!asked.reads) step.missed(["the cache is not to be used for it"]);
  else if (because !== undefined) step.missed([because]);
  else step.missed(await whyMissed(await remembered(step, asked, cache), memory));
}

/** For the next build. */
async function keepWhy(step: StepInput, asked: Asked, cache: StepCache): Promise<void> {
  const { memory } = step.services.input.cache ?? {};
  if (memory !== undefined) await rememberStep(await remembered(step, asked, cache), memory);
}

async function remembered(step: StepInput, asked: Asked, cache: StepCache): Promise<StepSubject> {
  const { services, index, instruction, number, state } = step;
  const { scope = "" } = services.input.cache ?? {};
  const stage = services.label(index).name;
  const place = { scope, stage, text: instruction.text, number };
  const { inputs, chain } = asked;
  const digests = await Promise.all(inputs.contents.map((content) => cache.knownDigest(content)));
  const base = services.base(index);
  const isFirst = base?.files === state.chain.key;
  return { place, chain, inputs, digests, ...(isFirst ? { base } : {}) };
}

function aboutOf({ instruction, services, index }: StepInput): RecordSubject {
  return subjectOf(instruction, stageName(services.input.plan, index));
}

function sourcesOf({ services, index, tools, waitFor }: StepInput): InputSources {
  const { input } = services;
  return {
    definition: async (name) => {
      const from = resolveFrom(input.plan, index, name);
      if (from.kind !== "stage") return imageDefinition(from, input, services);
      const chain =
        services.chainAhead(from.index) ?? (await waitFor(services.stage(from.index))).chain;
      return definitionOf(chain);
    },
    contents: (name) => () => tools.contents(tools.source(name)),
  };
}
