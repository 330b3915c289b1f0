import type { Span } from "../dockerfile/types.js";
import { packLayer } from "../layer/index.js";
import type { Change, SealedLayer } from "../layer/types.js";
import type { Tree } from "../oci/tree.js";
import type { Image, ImageFormat } from "../oci/types.js";
import type { SealOptions } from "../worker/types.js";
import type { StepId } from "./events.js";
import type { StageServices } from "./stage.js";
import type { StageView } from "./stage-view.js";
import type { SolveOptions, SourceStage, Tools } from "./types.js";

export interface ToolsInput {
  readonly services: StageServices;
  readonly view: StageView;
  readonly step: StepId;
  readonly index: number;
  /** Whether the stage has a RUN: then unpacking its base is no loss, and gives the indexes on the way. */
  readonly willRun: boolean;
  readonly source: (from: { readonly name: string; readonly span: Span }) => Promise<SourceStage>;
}

export function createTools({ services, view, step, index, willRun, source }: ToolsInput): Tools {
  const { layers, input, exported } = services;
  const { signal, options, plan, store, emit } = input;
  const compress = exported.has(index);
  const tree = async (image: Image): Promise<Tree> => {
    if (willRun) {
      const known = await Promise.all(image.layers.map((layer) => layers.hasIndex(layer)));
      if (known.includes(false)) await view.open(image);
    }
    return layers.tree(image);
  };
  return {
    signal,
    options,
    plan,
    escape: input.escape,
    context: input.context,
    source,
    tree,
    contents: (stage) => layers.contents(stage.image, stage.name),
    pack: (changes, image) => pack(changes, sealOptions(options, compress, image.format), services),
    run: async (image, spec) => {
      const seal = sealOptions(options, compress, image.format);
      // The root is made ready before the turn is taken: unpacking must not keep others from running.
      await view.open(image);
      using _turn = await services.steps.acquire(signal);
      return await view.run(image, spec, seal, (output) =>
        emit({ type: "step-output", step, ...output }),
      );
    },
    remote: input.remote,
    temporaryFile: (suffix) => store.stagingPath(suffix),
  };
}

/** Layers that stay on this machine are not compressed: nobody downloads them, and COPY --from reads them in place. */
function sealOptions(options: SolveOptions, compress: boolean, format: ImageFormat): SealOptions {
  const { compressionLevel: level, sourceDateEpoch, rewriteTimestamp } = options;
  const clamp = rewriteTimestamp && sourceDateEpoch !== undefined;
  return {
    compression: compress ? options.compression : "none",
    format: options.imageFormat ?? format,
    ...(level === undefined ? {} : { level }),
    ...(clamp ? { clampMtimeNs: BigInt(sourceDateEpoch) * 1_000_000_000n } : {}),
  };
}

async function pack(
  changes: Iterable<Change>,
  options: SealOptions,
  { input }: StageServices,
): Promise<SealedLayer> {
  const { store, signal } = input;
  const blobPath = store.stagingPath(".blob");
  const indexPath = store.stagingPath(".index");
  const layer = await packLayer(changes, { ...options, blobPath, indexPath, signal });
  await store.adoptBlob(blobPath, layer.descriptor.digest);
  await store.adoptIndex(indexPath, layer.diffId);
  return layer;
}
