import { locate } from "../dockerfile/index.js";
import type { Diagnostic } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import type { SealedLayer } from "../layer/types.js";
import type { Tree } from "../oci/tree.js";
import type { Image, ImageFormat, Layer } from "../oci/types.js";
import type { SealOptions } from "../worker/types.js";
import type { StepId } from "./events.js";
import { hashedSource } from "./cache/hashed-source.js";
import type { Layers } from "./layers.js";
import { packSealed } from "./pack.js";
import type { StageServices } from "./services.js";
import type { StageView } from "./stage-view.js";
import type { ImageContents, SolveOptions, SourceStage, StageInstruction, Tools } from "./types.js";

export interface ToolsInput {
  readonly services: StageServices;
  readonly at: StageInstruction;
  readonly warn: (diagnostics: readonly Diagnostic[]) => void;
  /** Absent in a dry run, which makes no layers. */
  readonly running?: RunningTools;
}
export interface RunningTools {
  readonly view: StageView;
  readonly step: StepId;
  /** Layers that stay on this machine are not compressed: nobody downloads them, and COPY --from reads them in place. */
  readonly compress: boolean;
  /** Whether what is made becomes part of the result. */
  readonly isExported: boolean;
  /** Whether the stage has a RUN: then unpacking its base is no loss, and gives the indexes on the way. */
  readonly willRun: boolean;
  readonly source: (name: string) => SourceStage;
}

export function createTools({ services, at, warn, running }: ToolsInput): Tools {
  const { layers, input } = services;
  const { signal, options, plan, store, emit } = input;
  const seal = (image: Image): SealOptions =>
    sealOptions(options, live(running).compress, image.format);
  /** What the step mounts, to be looked at when that fails. */
  const mounted: Layer[] = [];
  const tell = (layers: readonly Layer[]): Promise<void> => tellOfWork(layers, input, running);
  return {
    signal,
    options,
    plan,
    at,
    warn,
    notice: (message) => emit({ type: "notice", message: `${placeOf(at)}: ${message}` }),
    escape: input.escape,
    context: async () => {
      const context = await input.context();
      const { digests } = input.cache ?? {};
      return digests === undefined ? context : hashedSource(context, digests.files, store.hashing);
    },
    secret: input.secret,
    agent: input.agent,
    remote: input.remote,
    source: (name) => live(running).source(name),
    tree: (image) => tree(image, services, live(running)),
    blobs: (image) => {
      mounted.push(...image.layers);
      return Promise.all(image.layers.map((layer) => layers.blob(layer)));
    },
    contextImage: (path) => services.filesImage(undefined, path),
    contents: (stage) => contents(stage, layers),
    pack: async (changes, image) => {
      // A RUN of the stage may still fetch them.
      void tell(live(running).willRun ? [] : image.layers);
      const layer = await packSealed(changes, seal(image), input);
      void tell([layer]);
      return layer;
    },
    run: async (image, spec) => {
      const { view, step } = live(running);
      const allowed = tell([]);
      // The root is made ready before the turn is taken: unpacking must not keep others from running.
      await view.open(image);
      void tell(image.layers);
      await allowed;
      using _turn = await services.steps.acquire(signal);
      const finished = await layers.reading(mounted, () =>
        view.run(image, spec, seal(image), (output) =>
          emit({ type: "step-output", step, ...output }),
        ),
      );
      const sealed = async (): Promise<SealedLayer> => {
        const layer = await finished.seal();
        void tell([layer]);
        return layer;
      };
      return { ...finished, seal: sealed };
    },
    ...(input.cacheMounts === undefined ? {} : { cacheMounts: input.cacheMounts }),
    temporaryFile: (suffix) => store.stagingPath(suffix),
  };
}

/** A refusal ends the build by itself, whether or not anybody waits for it here. */
function tellOfWork(
  layers: readonly Layer[],
  { onWork }: StageServices["input"],
  running: RunningTools | undefined,
): Promise<void> {
  const allowed = onWork?.(running?.isExported === true ? layers : []) ?? Promise.resolve();
  allowed.catch(() => undefined);
  return allowed;
}

function placeOf({ span }: StageInstruction): string {
  return `${span.file.path}:${locate(span).line}`;
}

function live(running: RunningTools | undefined): RunningTools {
  if (running !== undefined) return running;
  throw new TsbuildError("INTERNAL", "a dry run was asked to make a layer");
}

async function tree(
  image: Image,
  { layers }: StageServices,
  { willRun, view }: RunningTools,
): Promise<Tree> {
  if (willRun) {
    const known = await Promise.all(image.layers.map((layer) => layers.hasIndex(layer)));
    if (known.includes(false)) await view.open(image);
  }
  return layers.tree(image);
}

/** How a layer is written. @param compress whether it leaves this machine */
export function sealOptions(
  options: SolveOptions,
  compress: boolean,
  format: ImageFormat,
): SealOptions {
  const { compressionLevel: level, sourceDateEpoch, rewriteTimestamp } = options;
  const clamp = rewriteTimestamp && sourceDateEpoch !== undefined;
  return {
    compression: compress ? options.compression : "none",
    format: options.imageFormat ?? format,
    ...(level === undefined ? {} : { level }),
    ...(clamp ? { clampMtimeNs: BigInt(sourceDateEpoch) * 1_000_000_000n } : {}),
  };
}

async function contents(stage: SourceStage, layers: Layers): Promise<ImageContents> {
  if (stage.files === undefined) return layers.contents(await stage.image(), stage.name);
  return { ...(await stage.files()), prepare: () => Promise.resolve() };
}
