import { TsbuildError } from "../errors.js";
import { hexOf } from "../oci/digest.js";
import { encodeJson } from "../oci/json.js";
import { layerCompression } from "../oci/media-types.js";
import type { Descriptor } from "../oci/types.js";
import { writeArchive, type Archive } from "./output-archive.js";
import { once, type OutputImage } from "./output-image.js";

const WHAT = "the docker archive";

function layerName(layer: Descriptor): string {
  const compression = layerCompression(layer.mediaType);
  if (compression === "zstd") {
    throw new TsbuildError(
      "USAGE",
      `tried to write ${WHAT}: layer ${layer.digest} is zstd, which docker load does not read`,
      { hint: "use --compression=gzip, or write an OCI layout with --oci-layout-path" },
    );
  }
  return `${hexOf(layer.digest)}.tar${compression === "gzip" ? ".gz" : ""}`;
}

async function addAll(
  archive: Archive,
  { config, layers }: OutputImage,
  repoTags: readonly string[],
): Promise<void> {
  const names = layers.map((layer) => layerName(layer.descriptor));
  const configName = `${hexOf(config.descriptor.digest)}.json`;
  await archive.add(configName, {
    descriptor: config.descriptor,
    open: () => once(config.bytes),
  });
  const unique = new Map(layers.map((layer, index) => [names[index] ?? "", layer]));
  for (const [name, layer] of unique) await archive.add(name, layer);
  const manifest = [{ Config: configName, RepoTags: repoTags, Layers: names }];
  await archive.addBytes("manifest.json", encodeJson(manifest));
}

/**
 * Writes the tar that `docker save` writes and `docker load` reads, with gzip layers as they are. The file is there
 * complete or not at all; the same image gives the same bytes. No more than a few chunks are in memory.
 * @param repoTags `name:tag`, as Docker writes them; none leaves the image without a name
 * @throws TsbuildError USAGE for a zstd layer, STORE_FAILED when the file cannot be written or a source is damaged
 */
export async function writeDockerArchive(
  path: string,
  image: OutputImage,
  repoTags: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  for (const layer of image.layers) layerName(layer.descriptor); // Refused before anything is written.
  await writeArchive(path, WHAT, (archive) => addAll(archive, image, repoTags), signal);
}
