import { TsbuildError } from "../errors.js";
import { familiarName, formatReference, type Reference } from "../oci/reference.js";
import type { Image } from "../oci/types.js";
import { isImmutableTagError } from "../registry/index.js";
import {
  type OutputBytes,
  type OutputImage,
  writeDockerArchive,
  writeOciArchive,
  writeOciLayout,
} from "../store/index.js";
import { parseDestination, type Destinations } from "./destinations.js";
import type { Annotations } from "./export-annotations.js";
import { checkFilesDestination, exportFiles } from "./export-files.js";
import {
  checkCompression,
  makesIndex,
  serializeAll,
  topOf,
  type Exported,
  type SerializedImage,
} from "./export-image.js";
import { layerOpener, type PushInput } from "./export-input.js";
import { ImagePush } from "./export-push.js";
import { withCompression } from "./export-repack.js";
import { writeResults } from "./export-results.js";
import type { BuildOptions, BuildResult, Output } from "./options.js";
import type { Repositories } from "./repositories.js";
import type { Uploads } from "./uploads.js";

export interface ExportInput extends PushInput {
  readonly options: BuildOptions;
  readonly destinations: Destinations;
  readonly uploads: Uploads;
  readonly repositories: Repositories;
  readonly annotations: Annotations;
  /** RFC 3339: the SOURCE_DATE_EPOCH, when there is one. */
  readonly created: string | undefined;
  /** What an image's config says besides. */
  readonly fields: ((image: Image) => Readonly<Record<string, unknown>>) | undefined;
}

/** image-spec/annotations.md */
const CREATED = "org.opencontainers.image.created";

/** Pushes and writes the image everywhere; result files come last, when nothing can fail any more. */
export async function exportImages(
  built: readonly Image[],
  input: ExportInput,
): Promise<BuildResult> {
  const { options, destinations } = input;
  const images = await withCompression(built, options, input);
  checkCompression(images, options);
  const index = makesIndex(options, images.length);
  const exported = serializeAll(images, index, input.annotations, input.fields);
  const written: string[] = [];
  for (const output of outputsOf(options)) {
    await write(output, exported, input);
    written.push(output.dest);
  }
  const pushed: string[] = [];
  const push = new ImagePush(exported, input);
  for (const destination of destinations.pushed) {
    if (await pushTo(push, destination, input)) pushed.push(formatReference(destination));
  }
  for (const repository of destinations.byDigest) {
    const destination = { ...repository, digest: topOf(exported).descriptor.digest };
    await push.to(destination);
    pushed.push(formatReference(destination));
  }
  const named = [...destinations.names, ...destinations.byDigest];
  written.push(...(await writeResults(exported, named, options)));
  const [first] = exported.images;
  const { descriptor } = topOf(exported);
  return {
    image: descriptor,
    configDigest: first?.config.descriptor.digest ?? descriptor.digest,
    pushed,
    written,
  };
}

/** @returns whether the destination names the image now */
async function pushTo(
  push: ImagePush,
  destination: Reference,
  { options, emit }: ExportInput,
): Promise<boolean> {
  try {
    await push.to(destination);
    return true;
  } catch (error) {
    if (options.pushIgnoreImmutableTagErrors !== true || !isImmutableTagError(error)) throw error;
    const message = `${familiarName(destination)} stays what it is: the tag exists and is immutable`;
    emit({ type: "notice", message });
    return false;
  }
}

export type WrittenOutput = Exclude<Output, { type: "image" }>;

/** What is written besides the files that tell of the result, in this order. */
export function outputsOf({ ociLayoutPath, tarPath, outputs = [] }: BuildOptions): WrittenOutput[] {
  const own: WrittenOutput[] = [];
  if (ociLayoutPath !== undefined) own.push({ type: "oci", dest: ociLayoutPath, tar: false });
  if (tarPath !== undefined) own.push({ type: "docker", dest: tarPath });
  return [...own, ...outputs.filter((output) => output.type !== "image")];
}

/** What is wrong with the outputs is said before anything is built. @throws TsbuildError USAGE */
export async function checkOutputs(options: BuildOptions, platforms: number): Promise<void> {
  if (options.imageFormat === "docker" && Object.keys(options.annotations ?? {}).length > 0) {
    throw new TsbuildError("USAGE", "Docker's image format has no annotations", {
      hint: "use --image-format=oci",
    });
  }
  for (const output of outputsOf(options)) {
    const { type, dest } = output;
    if ("names" in output) output.names?.forEach(parseDestination);
    if (type === "local") await checkFilesDestination(dest);
    if (type === "docker" && makesIndex(options, platforms)) {
      throw new TsbuildError("USAGE", "a docker archive holds one image, not an index", {
        hint: "build one platform, or write --oci-layout-path",
      });
    }
  }
}

async function write(output: WrittenOutput, exported: Exported, input: ExportInput): Promise<void> {
  const { destinations, signal } = input;
  const { dest, type } = output;
  if (type === "local" || type === "tar") {
    const files = exported.images.map(({ image }) => image);
    return exportFiles(output, files, input);
  }
  const images = exported.images.map((one) => outputOf(one, input));
  const [first] = images;
  if (first === undefined) return;
  const names: readonly Reference[] = output.names?.map(parseDestination) ?? destinations.names;
  if (type === "oci") {
    const image = exported.index === undefined ? first : { manifest: exported.index, images };
    const dated = { ...image, manifest: withCreated(image.manifest, input.created) };
    const writeOci = output.tar === false ? writeOciLayout : writeOciArchive;
    return writeOci(dest, dated, names, signal);
  }
  const repoTags = names.map((reference) => familiarName(reference));
  return writeDockerArchive(dest, first, repoTags, signal);
}

/**
 * When the image was made, said by the layout's entry for it, as BuildKit does. BuildKit says the time of day where there
 * is no SOURCE_DATE_EPOCH; here a layout says nothing then, so that the same image gives the same bytes.
 */
function withCreated({ bytes, descriptor }: OutputBytes, created: string | undefined): OutputBytes {
  if (created === undefined) return { bytes, descriptor };
  const annotations = { [CREATED]: created, ...descriptor.annotations };
  return { bytes, descriptor: { ...descriptor, annotations } };
}

function outputOf({ image, config, manifest }: SerializedImage, input: ExportInput): OutputImage {
  return {
    config,
    manifest,
    layers: image.layers.map((layer) => ({
      descriptor: layer.descriptor,
      open: layerOpener(layer, input),
    })),
    platform: image.config.platform,
  };
}
