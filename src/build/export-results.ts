import type { Digest } from "../oci/digest.js";
import { dockerName, formatReference, formatRepository, type Reference } from "../oci/reference.js";
import { writeTextFile } from "../store/index.js";
import { topOf, type Exported } from "./export-image.js";
import type { BuildOptions } from "./options.js";

/** The files that say what was made. They come last: who finds one finds the image too. */
export async function writeResults(
  exported: Exported,
  names: readonly Reference[],
  options: BuildOptions,
): Promise<readonly string[]> {
  const { digest } = topOf(exported).descriptor;
  const lines = (name: (reference: Reference) => string): string =>
    names.map((reference) => `${name(reference)}@${digest}\n`).join("");
  const files: readonly (readonly [path: string | undefined, text: string])[] = [
    [options.metadataFile, metadata(exported, names)],
    [options.iidFile, imageId(exported)],
    [options.imageNameWithDigestFile, lines(formatRepository)],
    [options.imageNameTagWithDigestFile, lines(tagged)],
    [options.digestFile, digest],
  ];
  const written: string[] = [];
  for (const [path, text] of files) {
    if (path === undefined) continue;
    await writeTextFile(path, text);
    written.push(path);
  }
  return written;
}

function tagged(reference: Reference): string {
  return formatReference(reference);
}

/** What is pushed by digest has no tag. */
function imageName(reference: Reference): string {
  const name = dockerName(reference);
  return reference.tag === undefined ? name.slice(0, name.lastIndexOf(":")) : name;
}

/** Docker's image id. */
function imageId(exported: Exported): Digest {
  return configDigest(exported) ?? topOf(exported).descriptor.digest;
}

/** An index has none. */
function configDigest({ images, index }: Exported): Digest | undefined {
  return index === undefined ? images[0]?.config.descriptor.digest : undefined;
}

/** https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file */
function metadata(exported: Exported, names: readonly Reference[]): string {
  const { descriptor } = topOf(exported);
  const [first] = exported.images;
  const own = exported.index === undefined ? first?.image.config.platform : undefined;
  const platform = own && {
    architecture: own.architecture,
    os: own.os,
    "os.version": own.osVersion,
    variant: own.variant,
  };
  const fields = {
    "containerimage.config.digest": configDigest(exported),
    "containerimage.descriptor": { ...descriptor, platform },
    "containerimage.digest": descriptor.digest,
    "image.name": names.length === 0 ? undefined : names.map(imageName).join(","),
  };
  return `${JSON.stringify(fields, undefined, 2)}\n`;
}
