import { TsbuildError } from "../../errors.js";
import { createSemaphore, type Semaphore } from "../../internal/semaphore.js";
import { settledBefore } from "../../internal/settled.js";
import { remember } from "../remember.js";
import type { LayerFaults } from "../layer-faults.js";
import { unchangedOnly, UnreadError } from "./hashed-source.js";
import { keyOf, type CacheKey } from "./key.js";
import type {
  CacheInput,
  Chain,
  ContentDigest,
  ContentInput,
  Ingredient,
  LayerRecord,
  RecordBook,
  RecordSubject,
  StepInputs,
  StepKind,
  StepRecord,
} from "./types.js";

/** One step as the cache sees it. */
export interface CacheStep {
  readonly inputs: StepInputs;
  /** The stage's before the step. */
  readonly chain: Chain;
  readonly about: RecordSubject;
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
  /** There is no layer whatever the files hold: they were not read for it. */
  readonly isUnread?: true;
}

/** Records that are looked for before anybody waits for them: enough to hide the way to a registry and back. */
const AHEAD = 8;

interface Found {
  readonly record: StepRecord;
  /** Absent: this build made it. */
  readonly book?: RecordBook;
}

/** Looks steps up and keeps what they made. What one build asks for twice is asked for once. */
export class StepCache {
  readonly #input: CacheInput;
  readonly #signal: AbortSignal;
  readonly #records = new Map<CacheKey, Promise<Found | undefined>>();
  readonly #told = new Set<CacheKey>();
  readonly #ahead: Semaphore = createSemaphore(AHEAD);
  readonly #digests = new Map<string, Promise<ContentDigest>>();
  readonly #faults: LayerFaults;

  constructor(input: CacheInput, signal: AbortSignal, faults: LayerFaults) {
    this.#input = input;
    this.#signal = signal;
    this.#faults = faults;
  }

  reads(stage: string): boolean {
    return this.#input.reads(stage);
  }

  /** Whether layers of such steps leave this machine with their records. */
  sends(kind: StepKind): boolean {
    return this.#input.sends?.(kind) ?? false;
  }

  /** Looks for the step's layer; first by definition, which needs no file of another stage. */
  async look(step: CacheStep): Promise<Looked> {
    if (await this.#isNew(step)) return { keys: {}, isUnread: true };
    const keys = await this.#keys(step);
    const { definition, content } = keys;
    const record = content === undefined ? undefined : await this.#usable(step, content);
    if (content === undefined || record === undefined) return { keys };
    if (definition !== undefined) await this.#tell(definition, step.about);
    await this.#tell(content, step.about);
    return { keys, record };
  }

  /**
   * Begins to look for a step's layer before anybody waits for it, whatever became of the steps before it. Gives the key
   * by content, where it is known.
   */
  async ask(step: CacheStep): Promise<CacheKey | undefined> {
    if (await this.#isNew(step)) return undefined;
    const { content } = await this.#keys(step);
    if (content === undefined || !step.reads || this.#records.has(content)) return content;
    const turn = await this.#ahead.acquire(this.#signal);
    const release = (): void => turn[Symbol.dispose]();
    this.#find(content, step.about.kind).then(release, release);
    return content;
  }

  async #keys(step: CacheStep): Promise<StepKeys> {
    const definition = await this.#definitionKey(step);
    if (definition !== undefined && step.reads) {
      const pointer = (await this.#find(definition, step.about.kind))?.record;
      if (pointer?.kind === "pointer") return { definition, content: pointer.to };
    }
    const content = await this.#contentKey(step);
    return {
      ...(definition === undefined ? {} : { definition }),
      ...(content === undefined ? {} : { content }),
    };
  }

  /** Says to the other books that a record is used, once. */
  async #tell(key: CacheKey, about: RecordSubject): Promise<void> {
    const found = await this.#records.get(key);
    if (found?.book === undefined || this.#told.has(key)) return;
    this.#told.add(key);
    for (const book of this.#books(about.kind)) {
      if (book !== found.book) await book.found?.(key, found.record, about, this.#signal);
    }
  }

  /**
   * The keys of a step that was made unread: its files are known now, from being packed. Without a key by content where one
   * of them has changed since.
   * @param begun when packing began, in milliseconds since the epoch
   */
  async keysAfter(step: CacheStep, begun: number): Promise<StepKeys> {
    const { digests } = this.#input;
    const memory = { ...digests, files: unchangedOnly(digests.files, settledBefore(begun)) };
    try {
      for (const { id, digest } of step.inputs.contents) {
        const found = await digest?.({ memory, signal: this.#signal });
        if (found !== undefined) this.#digests.set(id, Promise.resolve(found));
      }
    } catch (error) {
      if (error instanceof UnreadError) return {};
      throw error;
    }
    const content = await this.#contentKey(step);
    return content === undefined ? {} : { content };
  }

  /** Keeps a layer, and what leads to it. */
  async save(
    step: CacheStep,
    keys: StepKeys,
    record: LayerRecord,
    about: RecordSubject,
  ): Promise<void> {
    const { content } = keys;
    const family = familyKey(step);
    const [here] = this.#input.books;
    if (family !== undefined) {
      await here?.save(family, { kind: "pointer", to: content ?? family }, about, this.#signal);
    }
    this.#faults.made(record.layer.descriptor.digest);
    if (content === undefined) return;
    await this.#save(content, record, about);
    await this.point(keys, about);
  }

  /** Keeps what a key by definition stands for: a hit by content has shown it. */
  async point({ definition, content }: StepKeys, about: RecordSubject): Promise<void> {
    if (content === undefined || definition === undefined) return;
    const known = (await this.#records.get(definition))?.record;
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
    this.#records.set(key, Promise.resolve({ record }));
    for (const book of this.#books(about.kind)) await book.save(key, record, about, this.#signal);
  }

  async #definitionKey({ inputs, chain }: CacheStep): Promise<CacheKey | undefined> {
    const { contents, facts } = inputs;
    if (contents.every(({ definition }) => definition === undefined)) return undefined;
    const by = await this.#values(contents, ({ definition }) => definition);
    return by && keyOf([parentOf(chain), ...facts, ...by]);
  }

  /**
   * Whether nobody has to read files to know that there is no layer. Records of other machines are not told by what is known
   * on this one.
   */
  async #isNew(step: CacheStep): Promise<boolean> {
    const family = familyKey(step);
    const [here, ...others] = this.#input.books;
    if (family === undefined || here === undefined || others.length > 0) return false;
    return (await here.find(family, this.#signal)) === undefined;
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
    const { record, book } = (await this.#find(key, step.about.kind)) ?? {};
    if (record?.kind !== "layer" || record.runs !== step.chain.runs) return undefined;
    if (record.driver !== undefined && !(await this.#input.acceptsLossy())) return undefined;
    if (book?.name !== undefined) {
      this.#faults.use(record.layer.descriptor.digest, book.name, key);
    }
    return record;
  }

  #find(key: CacheKey, kind: StepKind): Promise<Found | undefined> {
    return remember(this.#records, key, async () => {
      for (const book of this.#books(kind)) {
        const record = await book.find(key, this.#signal);
        if (record !== undefined && (await this.#isGood(record, book))) return { record, book };
      }
      return undefined;
    });
  }

  /** Whether the record is to be believed. */
  async #isGood(record: StepRecord, { name = "", has }: RecordBook): Promise<boolean> {
    if (record.kind !== "layer") return true;
    const { descriptor } = record.layer;
    if (this.#faults.isDenied(descriptor.digest)) return false;
    return !this.#faults.isDoubted(name) || has === undefined || has(descriptor, this.#signal);
  }

  /** Why a step is made anew whose layer the cache seemed to have. */
  because({ content }: StepKeys): string | undefined {
    return this.#faults.because(content);
  }

  #books(kind: StepKind): readonly RecordBook[] {
    return this.#input.books.filter((book) => book.keeps?.(kind) ?? true);
  }
}

/** Of everything but the content of a context's files; `undefined` where nothing else is read, or something else is. */
function familyKey({ inputs, chain }: CacheStep): CacheKey | undefined {
  const { contents, facts } = inputs;
  if (contents.length === 0 || contents.some(({ isHashed }) => isHashed !== true)) return undefined;
  return keyOf([{ name: "family", value: "" }, parentOf(chain), ...facts]);
}

function parentOf({ key }: Chain): Ingredient {
  return { name: "parent", value: key };
}

/** The stage's chain after a step. */
export function chainAfter(
  { chain, about }: Pick<CacheStep, "chain" | "about">,
  content: CacheKey | undefined,
  diffId: string,
): Chain {
  // Without a key what follows has one of its own, that of the layer which was really made.
  const key = content ?? keyOf([parentOf(chain), { name: "layer", value: diffId }]);
  if (about.kind !== "RUN") return { key, runs: chain.runs };
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
