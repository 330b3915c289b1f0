import type { DigestMemory } from "../../context/types.js";
import type { SealedLayer } from "../../layer/types.js";
import type { Instruction } from "../../dockerfile/types.js";
import type { Reference } from "../../oci/reference.js";
import type { Descriptor, Layer } from "../../oci/types.js";
import type { ImageContents } from "../types.js";
import type { DigestOptions } from "./digest-files.js";
import type { CacheKey } from "./key.js";

/** Something that decides what a step makes. */
export interface Ingredient {
  /** As it is shown: `build-arg VERSION`. */
  readonly name: string;
  readonly value: string;
}

/**
 * Where a stage stands between two steps. `key` is what its layers are by definition; `runs` is what its commands really
 * made: the same command may make something else each time, and what was made upon one result does not fit another.
 */
export interface Chain {
  readonly key: CacheKey;
  readonly runs: CacheKey;
}

/** What files hold, and what each of them does, for messages. */
export interface ContentDigest {
  readonly digest: string;
  /** A few characters of each file's own digest by its path; `undefined` when there are too many. */
  readonly files?: () => Promise<ReadonlyMap<string, string> | undefined>;
}

/** Files that a step reads from outside of its own root. */
export interface ContentInput {
  readonly name: string;
  /** Inputs of the same id have the same content. */
  readonly id: string;
  /** What decides the content without looking at it: of another stage or an image. Then either is enough for a hit. */
  readonly definition?: string;
  /** The step reads its files by a way that remembers their digests: see `hashedSource`. */
  readonly isHashed?: true;
  /** Absent: not to be had before another stage is built. Then the step's key is known only when there is a definition. */
  readonly digest?: (options: DigestOptions) => Promise<ContentDigest>;
}

/** Everything besides the stage's own files that decides what a step makes. */
export interface StepInputs {
  readonly facts: readonly Ingredient[];
  readonly contents: readonly ContentInput[];
}

/** How inputs find other stages, images and contexts. */
export interface InputSources {
  /** What decides the content of the stage or image that `--from` names; `undefined`: not known before it is built. */
  definition(name: string): Promise<string | undefined>;
  /** Opens its files; `undefined`: they cannot be had before it is built. */
  contents(name: string): (() => Promise<ImageContents>) | undefined;
}

/** A layer that a step of this key made. */
export interface LayerRecord {
  readonly kind: "layer";
  readonly layer: SealedLayer;
  /** The compressor's scale that it was packed with, where one was asked for. */
  readonly level?: number;
  /** {@link Chain.runs} of what it was made upon. */
  readonly runs: CacheKey;
  /** RFC 3339. */
  readonly created: string;
  /** The driver, where it is one that cannot keep all that a step does. */
  readonly driver?: string;
  /** The repository that has the blob, where the store may not. */
  readonly origin?: Reference;
  /** Where its bytes are besides; verified. */
  readonly open?: NonNullable<Layer["open"]>;
}

/**
 * The key by content of what a key by definition stands for; or, under the key of everything but content, that there is a
 * layer at all.
 */
export interface PointerRecord {
  readonly kind: "pointer";
  readonly to: CacheKey;
}
export type StepRecord = LayerRecord | PointerRecord;

/** Where records are kept. Nobody has to keep them: one that is gone, or cannot be read, is none. */
export interface RecordBook {
  /** Where it keeps its records, for people. Absent: it is told of records alone, and gives none. */
  readonly name?: string;
  /** Whether it has to do with steps of that kind. Absent: with all. */
  keeps?(kind: StepKind): boolean;
  /** A layer's record only where its blob can be had: in the store, or where the record says. */
  find(key: CacheKey, signal: AbortSignal): Promise<StepRecord | undefined>;
  /** Whether the layer of a record that it gave is there. Asked when another one was not. Absent: nothing tells. */
  readonly has?: (layer: Descriptor, signal: AbortSignal) => Promise<boolean>;
  /** Resolves when the record is safe, was given up, or will be looked after. */
  save(key: CacheKey, record: StepRecord, about: RecordSubject, signal: AbortSignal): Promise<void>;
  /** Hears of a record of another book that this build uses. */
  found?(
    key: CacheKey,
    record: StepRecord,
    about: RecordSubject,
    signal: AbortSignal,
  ): Promise<void>;
}

/** An instruction that makes a layer. */
export type StepKind = Extract<Instruction["kind"], "ADD" | "COPY" | "RUN" | "WORKDIR">;

/** Which step a record is of. */
export interface RecordSubject {
  readonly kind: StepKind;
  readonly instruction: string;
  readonly stage: string;
}

/** What a stage begins with. */
export interface StageBase {
  /** As the Dockerfile says it. */
  readonly name: string;
  /** Decided by its layers. */
  readonly files: string;
}

/** What a step was made of last time, for saying why it is made anew. */
export interface Remembered {
  readonly parent: string;
  /** Of a stage's first step. */
  readonly base?: StageBase;
  readonly facts: readonly Ingredient[];
  readonly contents: readonly {
    readonly name: string;
    readonly digest: string;
    readonly files?: ReadonlyMap<string, string>;
  }[];
}

/** What was remembered of steps by where they stand: as a record, never needed. */
export interface Memory {
  recall(place: CacheKey): Promise<Remembered | undefined>;
  remember(place: CacheKey, what: Remembered): Promise<void>;
}

/** What the build's options say of the cache. */
export interface CacheInput {
  /** In the order in which they are asked; every one is told of new records. */
  readonly books: readonly RecordBook[];
  /** Whether layers of such steps leave this machine with their records, whatever stage they are of. */
  readonly sends?: (kind: StepKind) => boolean;
  readonly memory: Memory;
  /** What is built, for telling the steps of one project from those of another in `memory`. */
  readonly scope: string;
  /** What is known of the files of contexts. */
  readonly digests: DigestMemory;
  /** Whether records of the stage may be used. */
  readonly reads: (stage: string) => boolean;
  /** Whether layers of a driver that loses something are good enough for this build. Asked when there is one. */
  readonly acceptsLossy: () => Promise<boolean>;
}
