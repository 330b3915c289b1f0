import { TsbuildError } from "../errors.js";
import { serializeImage } from "../oci/image.js";
import { serializeIndex, type SerializedBlob } from "../oci/manifest.js";
import { layerCompression } from "../oci/media-types.js";
import type { Descriptor, Image } from "../oci/types.js";
import type { Annotations } from "./export-annotations.js";
import type { BuildOptions } from "./options.js";

/** An image as the bytes that are sent: serialised once, so that every output has the same digest. */
export interface SerializedImage {
  readonly image: Image;
  readonly config: SerializedBlob;
  readonly manifest: SerializedBlob;
}

/** One image, or images of several platforms and the index that names them. */
export interface Exported {
  readonly images: readonly SerializedImage[];
  readonly index?: SerializedBlob;
}

/** As Go's strconv.ParseBool reads it. */
const BOOLEANS: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(["1", "t", "T", "true", "TRUE", "True"].map((word) => [word, true])),
  ...Object.fromEntries(["0", "f", "F", "false", "FALSE", "False"].map((word) => [word, false])),
};

/**
 * Whether an index is made: for several platforms, and for one where BuildKit's own build argument asks for it.
 * @throws TsbuildError USAGE for a build argument that is no boolean, or that denies several platforms
 */
export function makesIndex({ buildArgs }: BuildOptions, images: number): boolean {
  const asked = buildArgs?.["BUILDKIT_MULTI_PLATFORM"] ?? "";
  if (asked === "") return images > 1;
  const wanted = BOOLEANS[asked];
  const why =
    wanted === undefined
      ? "expected true or false"
      : !wanted && images > 1
        ? "several platforms need an index"
        : undefined;
  if (wanted !== undefined && why === undefined) return wanted;
  throw new TsbuildError("USAGE", `invalid BUILDKIT_MULTI_PLATFORM "${asked}": ${why}`, {
    hint: "leave it out, or build one platform",
  });
}

/** `forceCompression`: no layer is compressed in another way than was asked. @throws TsbuildError USAGE */
export function checkCompression(images: readonly Image[], options: BuildOptions): void {
  if (options.forceCompression !== true) return;
  const wanted = options.compression ?? "gzip";
  const layers = images.flatMap((image) => image.layers);
  const other = layers.find(({ descriptor }) => layerCompression(descriptor.mediaType) !== wanted);
  if (other === undefined) return;
  const { digest, mediaType } = other.descriptor;
  const what = `tried to keep force-compression: layer ${digest} of the base is ${mediaType}`;
  throw new TsbuildError("USAGE", `${what}, which is never packed again`, {
    hint: "leave force-compression out, or take another base",
  });
}

/** @throws TsbuildError USAGE for what the images' format cannot say */
export function serializeAll(
  images: readonly Image[],
  index: boolean,
  annotations: Annotations,
  fields?: (image: Image) => Readonly<Record<string, unknown>>,
): Exported {
  const serialized = images.map((image) => {
    const { platform } = image.config;
    const { config, manifest } = serializeImage(
      image,
      annotations.manifest(platform),
      fields?.(image),
    );
    const named = annotated(image, manifest, annotations.manifestDescriptor(platform));
    return { image, config, manifest: named };
  });
  const [first] = images;
  if (!index || first === undefined) return { images: serialized };
  const entries = serialized.map(({ manifest, image }) => ({
    ...manifest.descriptor,
    platform: image.config.platform,
  }));
  refuseInDocker(first, annotations.index);
  const top = serializeIndex(first.format, entries, annotations.index);
  return { images: serialized, index: annotated(first, top, annotations.indexDescriptor) };
}

/** What the destination's tag names. */
export function topOf({ images, index }: Exported): SerializedBlob {
  const top = index ?? images[0]?.manifest;
  if (top === undefined) throw new TsbuildError("INTERNAL", "nothing was built");
  return top;
}

function annotated(
  image: Image,
  { bytes, descriptor }: SerializedBlob,
  annotations: NonNullable<Descriptor["annotations"]>,
): SerializedBlob {
  if (Object.keys(annotations).length === 0) return { bytes, descriptor };
  refuseInDocker(image, annotations);
  return { bytes, descriptor: { ...descriptor, annotations } };
}

function refuseInDocker({ format }: Image, annotations: Readonly<Record<string, string>>): void {
  if (format === "oci" || Object.keys(annotations).length === 0) return;
  throw new TsbuildError(
    "USAGE",
    "tried to annotate an index: Docker's format has no annotations",
    {
      hint: "use --image-format=oci",
    },
  );
}
