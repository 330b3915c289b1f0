import { TsbuildError } from "../../errors.js";
import { remember } from "../remember.js";
import { keyOf, type CacheKey } from "./key.js";
import type {
  CacheInput,
  Chain,
  ContentDigest,
  ContentInput,
  Ingredient,
  LayerRecord,
  RecordSubject,
  StepInputs,
  StepRecord,
} from "./types.js";

/** One step as the cache sees it. */
export interface CacheStep {
  readonly inputs: StepInputs;
  /** The stage's before the step. */
  readonly chain: Chain;
  readonly isRun: boolean;
  /** Whether records may be used; they are written all the same. */
  readonly reads: boolean;
}

/** What is known of a step's key. */
export interface StepKeys {
  /** By what other stages are, where the step reads from them. */
  readonly definition?: CacheKey;
  /** By what everything that it reads holds: the one that the stage goes on with. */
  readonly content?: CacheKey;
}

export interface Looked {
  readonly keys: StepKeys;
  readonly record?: LayerRecord;
}

/** Looks steps up and keeps what they made. What one build asks for twice is asked for once. */
export class StepCache {
  readonly #input: CacheInput;
  readonly #signal: AbortSignal;
  readonly #records = new Map<CacheKey, Promise<StepRecord | undefined>>();
  readonly #digests = new Map<string, Promise<ContentDigest>>();

  constructor(input: CacheInput, signal: AbortSignal) {
    this.#input = input;
    this.#signal = signal;
  }

  reads(stage: string): boolean {
    return this.#input.reads(stage);
  }

  /** Looks for the step's layer; first by definition, which needs no file of another stage. */
  async look(step: CacheStep): Promise<Looked> {
    const definition = await this.#definitionKey(step);
    if (definition !== undefined && step.reads) {
      const pointer = await this.#find(definition);
      if (pointer?.kind === "pointer") {
        const record = await this.#usable(step, pointer.to);
        const keys = { definition, content: pointer.to };
        return record === undefined ? { keys } : { keys, record };
      }
    }
    const content = await this.#contentKey(step);
    const keys = {
      ...(definition === undefined ? {} : { definition }),
      ...(content === undefined ? {} : { content }),
    };
    const record = content === undefined ? undefined : await this.#usable(step, content);
    return record === undefined ? { keys } : { keys, record };
  }

  /** Keeps a layer, and what leads to it. */
  async save(keys: StepKeys, record: LayerRecord, about: RecordSubject): Promise<void> {
    const { content } = keys;
    if (content === undefined) return;
    await this.#save(content, record, about);
    await this.point(keys, about);
  }

  /** Keeps what a key by definition stands for: a hit by content has shown it. */
  async point({ definition, content }: StepKeys, about: RecordSubject): Promise<void> {
    if (content === undefined || definition === undefined) return;
    const known = await this.#records.get(definition);
    if (known?.kind === "pointer" && known.to === content) return;
    await this.#save(definition, { kind: "pointer", to: content }, about);
  }

  /** What the input holds. */
  digest(input: ContentInput): Promise<ContentDigest> | undefined {
    const { digest } = input;
    if (digest === undefined) return undefined;
    const options = { memory: this.#input.digests, signal: this.#signal };
    return remember(this.#digests, input.id, () => digest(options));
  }

  /** What {@link digest} has found, if anybody has asked. */
  async knownDigest({ id }: ContentInput): Promise<ContentDigest | undefined> {
    return this.#digests.get(id);
  }

  async #save(key: CacheKey, record: StepRecord, about: RecordSubject): Promise<void> {
    this.#records.set(key, Promise.resolve(record));
    for (const book of this.#input.books) await book.save(key, record, about, this.#signal);
  }

  async #definitionKey({ inputs, chain }: CacheStep): Promise<CacheKey | undefined> {
    const { contents, facts } = inputs;
    if (contents.every(({ definition }) => definition === undefined)) return undefined;
    const by = await this.#values(contents, ({ definition }) => definition);
    return by && keyOf([parentOf(chain), ...facts, ...by]);
  }

  async #contentKey({ inputs, chain }: CacheStep): Promise<CacheKey | undefined> {
    const by = await this.#values(inputs.contents, () => undefined);
    return by && keyOf([parentOf(chain), ...inputs.facts, ...by]);
  }

  /** What stands for each input: its content, unless there is something `better`. `undefined` when one cannot be had yet. */
  async #values(
    contents: readonly ContentInput[],
    better: (input: ContentInput) => string | undefined,
  ): Promise<readonly Ingredient[] | undefined> {
    const values: Ingredient[] = [];
    for (const input of contents) {
      const definition = better(input);
      const value = definition ?? (await this.digest(input))?.digest;
      if (value === undefined) return undefined;
      values.push({ name: definition === undefined ? "content" : "definition", value });
    }
    return values;
  }

  async #usable(step: CacheStep, key: CacheKey): Promise<LayerRecord | undefined> {
    if (!step.reads) return undefined;
    const record = await this.#find(key);
    if (record?.kind !== "layer" || record.runs !== step.chain.runs) return undefined;
    if (record.driver !== undefined && !(await this.#input.acceptsLossy())) return undefined;
    return record;
  }

  #find(key: CacheKey): Promise<StepRecord | undefined> {
    return remember(this.#records, key, async () => {
      for (const book of this.#input.books) {
        const record = await book.find(key, this.#signal);
        if (record !== undefined) return record;
      }
      return undefined;
    });
  }
}

function parentOf({ key }: Chain): Ingredient {
  return { name: "parent", value: key };
}

/** The stage's chain after a step. */
export function chainAfter(
  { chain, isRun }: Pick<CacheStep, "chain" | "isRun">,
  content: CacheKey | undefined,
  diffId: string,
): Chain {
  // Without a key what follows has one of its own, that of the layer which was really made.
  const key = content ?? keyOf([parentOf(chain), { name: "layer", value: diffId }]);
  if (!isRun) return { key, runs: chain.runs };
  const runs = keyOf([
    { name: "runs", value: chain.runs },
    { name: "layer", value: diffId },
  ]);
  return { key, runs };
}

/** What cannot be had says why when the step is made, with its place: here the key is merely unknown. */
export async function orNone<T>(
  look: () => Promise<T>,
  signal: AbortSignal,
): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TsbuildError) return undefined;
    throw error;
  }
}
