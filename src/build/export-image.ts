import { TsbuildError } from "../errors.js";
import { serializeImage } from "../oci/image.js";
import { serializeIndex, type SerializedBlob } from "../oci/manifest.js";
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

/** Whether an index is made; BuildKit's own build argument decides it for one platform. */
export function makesIndex({ buildArgs }: BuildOptions, images: number): boolean {
  const asked = buildArgs?.["BUILDKIT_MULTI_PLATFORM"];
  return images > 1 || asked === "1" || asked === "true";
}

/** @throws TsbuildError USAGE for what the images' format cannot say */
export function serializeAll(
  images: readonly Image[],
  index: boolean,
  annotations: Annotations,
): Exported {
  const serialized = images.map((image) => {
    const { platform } = image.config;
    const { config, manifest } = serializeImage(image, annotations.manifest(platform));
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
