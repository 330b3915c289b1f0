import type { FileSource, RemoteSources } from "../context/types.js";
import type { Diagnostic, From, Instruction, StagePlan } from "../dockerfile/types.js";
import type { Change, SealedLayer } from "../layer/types.js";
import type { Tree } from "../oci/tree.js";
import type { Compression, Image, ImageFormat, Layer, Platform } from "../oci/types.js";
import type { Registry } from "../registry/types.js";
import type { Store } from "../store/types.js";
import type { ExitStatus } from "../worker/sandbox/types.js";
import type { LayerBlob, StepSpec, Worker } from "../worker/types.js";
import type { CacheInput, Chain, InputSources, StepInputs } from "./cache/types.js";
import type { BuildEvent } from "./events.js";
import type { LayerFaults } from "./layer-faults.js";
import type { StepOptions } from "./step-options.js";

/** An event before it gets its time. */
export type Untimed<E> = E extends unknown ? Omit<E, "time"> : never;
export type Emit = (event: Untimed<BuildEvent>) => void;

/** An ARG that a stage has declared; without a value it stays undefined in the environment. */
export interface DeclaredArg {
  readonly name: string;
  readonly value: string | undefined;
}

/** A stage between two instructions: a value, replaced and never edited. */
export interface StageState {
  readonly image: Image;
  readonly platform: Platform;
  /** What RUN sees and words expand with: ENV and ARG in the order in which they came. */
  readonly env: ReadonlyMap<string, string>;
  readonly args: readonly DeclaredArg[];
  /** Whether this stage itself has had a CMD: an ENTRYPOINT then leaves it alone. */
  readonly cmdSet: boolean;
  /** Whether this Dockerfile has set a working directory in this stage or those that it starts from. */
  readonly workdirSet: boolean;
  /** What its files are made of, for the cache. */
  readonly chain: Chain;
}

/** What one instruction does: a new state, what the history says, and, for those that write files, a layer. */
export interface Effect {
  readonly state: StageState;
  /** The history's `created_by`; absent: no entry (ONBUILD). */
  readonly history?: string;
  /** What decides the layer, besides the files that are there before it. Absent with `layer`. */
  readonly inputs?: (sources: InputSources) => Promise<StepInputs>;
  /** Makes the layer. Absent: nothing but configuration changes. */
  readonly layer?: () => Promise<SealedLayer>;
}

export type StageInstruction = Exclude<Instruction, From>;
export type Handler<I extends Instruction> = (
  instruction: I,
  state: StageState,
  tools: Tools,
) => Promise<Effect> | Effect;
/** A missing or mistyped entry is a compile error. */
export type Handlers = {
  readonly [K in StageInstruction["kind"]]: Handler<Extract<Instruction, { kind: K }>>;
};

/** What `--from` names, ready to be read. */
export interface SourceStage {
  readonly name: string;
  /** Its filesystem as layers. */
  image(): Promise<Image>;
  /** Its files, where they are at hand as they are: a named context. */
  files?(): Promise<FileSource>;
}

/** The content of a secret; `undefined` when there is none of that id. It is nowhere but in the step that asked for it. */
export type SecretSource = (id: string) => Promise<Uint8Array | undefined>;
/** The socket of the ssh agent of that id, which starts to listen when it is first asked for. */
export type AgentSource = (id: string) => Promise<string | undefined>;

/** What `--build-context` names: files, an image of a registry, or an image that is read from elsewhere. */
export type NamedContext =
  | { readonly kind: "files"; readonly open: () => Promise<FileSource> }
  | { readonly kind: "image"; readonly reference: string }
  | { readonly kind: "layout"; readonly load: (platform: Platform) => Promise<Image> };

/**
 * An image to copy from. Compressed layers have to be inflated before they can be read, and only those that are read
 * from: `prepare` finds out which, from the same changes that will then be packed.
 */
export interface ImageContents extends FileSource {
  prepare(changes: Iterable<Change>): Promise<void>;
}

/** A step's process has ended; its changes become a layer when asked. */
export interface FinishedStep {
  readonly status: ExitStatus;
  /** The last lines that it wrote. */
  readonly tail: string;
  readonly seal: () => Promise<SealedLayer>;
}

/** Directories of `RUN --mount=type=cache` that machines share. */
export interface CacheMounts {
  /**
   * Hears that a step has the cache of that key; gives the layers that a new one begins with. `undefined`: with nothing.
   * @param pull brings an image's layers into the store
   */
  seed(
    key: string,
    pull: (image: Image) => Promise<readonly LayerBlob[]>,
  ): Promise<readonly LayerBlob[] | undefined>;
}

/** What a handler may use beside its instruction and the state. */
export interface Tools {
  readonly signal: AbortSignal;
  readonly options: SolveOptions;
  readonly plan: StagePlan;
  readonly escape: "\\" | "`";
  /** The instruction that is being looked at: for the places of warnings. */
  readonly at: StageInstruction;
  warn(diagnostics: readonly Diagnostic[]): void;
  /** Says what a step found that is no error; the instruction's place is put before it. */
  notice(message: string): void;
  /** The main build context. */
  context(): Promise<FileSource>;
  /** The stage, image or context that `--from` names. */
  source(name: string): SourceStage;
  /** The filesystem of an image, over the indexes of its layers. */
  tree(image: Image): Promise<Tree>;
  /** The filesystem of what `--from` names, to copy from. */
  contents(stage: SourceStage): Promise<ImageContents>;
  /** Makes a layer of changes. */
  pack(changes: Iterable<Change>, image: Image): Promise<SealedLayer>;
  /** Runs a process on the image's filesystem and makes a layer of what it changed. */
  run(image: Image, spec: StepSpec): Promise<FinishedStep>;
  readonly remote: RemoteSources;
  readonly secret: SecretSource;
  readonly agent: AgentSource;
  /** The main context, or what is at `path` in it, as an image that can be mounted. */
  contextImage(path: string): Promise<Image>;
  /** The image's layers as blobs in the store, lowest first. */
  blobs(image: Image): Promise<readonly LayerBlob[]>;
  readonly cacheMounts?: CacheMounts;
  /** A file that lasts as long as the build, on the store's disk. */
  temporaryFile(suffix: string): string;
}

/** Options that decide what the image is. */
export interface SolveOptions {
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly buildPlatform: Platform;
  readonly targetPlatform: Platform;
  /** Whether the user asked for the platform: it is then written into the config. */
  readonly platformRequested: boolean;
  readonly labels: ReadonlyMap<string, string>;
  readonly compression: Compression;
  readonly compressionLevel?: number;
  /** No layer leaves this machine, however it is compressed. */
  readonly staysHere?: true;
  readonly imageFormat?: ImageFormat;
  /** Seconds since the epoch for `created` and history times. */
  readonly sourceDateEpoch?: number;
  /** Later file times become `sourceDateEpoch`. */
  readonly rewriteTimestamp: boolean;
  /** Everything that is added to the base becomes one layer. */
  readonly singleSnapshot?: true;
  /** The result's files are left in "/", where that is the root of stages. */
  readonly materialize?: true;
  /** Contents of the host's files, for steps. */
  readonly hosts: string;
  readonly resolvConf: string;
  readonly step: StepOptions;
}

export interface SolveInput {
  readonly plan: StagePlan;
  readonly escape: "\\" | "`";
  readonly options: SolveOptions;
  readonly store: Store;
  readonly registry: Registry;
  readonly context: () => Promise<FileSource>;
  readonly remote: RemoteSources;
  readonly secret: SecretSource;
  readonly agent: AgentSource;
  /** Named contexts by their lower-case name. */
  readonly contexts: ReadonlyMap<string, NamedContext>;
  /** What reading the Dockerfile found. */
  readonly warnings: readonly Diagnostic[];
  /** Started on the first call. */
  readonly worker: () => Promise<Worker>;
  /**
   * Hears that a layer is about to be made, with the layers below it, and then of the layer itself: those of the result
   * alone, so there may be none. Resolves when a command may be run.
   */
  readonly onWork?: (layers: readonly Layer[]) => Promise<void>;
  /** Absent: caches of steps are this machine's. */
  readonly cacheMounts?: CacheMounts;
  /** Absent: nothing is looked up, and nothing is kept. */
  readonly cache?: CacheInput;
  /** Hears of layers that cannot be read. */
  readonly faults: LayerFaults;
  readonly signal: AbortSignal;
  readonly emit: Emit;
}
