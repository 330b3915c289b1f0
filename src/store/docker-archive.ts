import { createHash } from "node:crypto";
import { once as eventOf } from "node:events";
import { type Pack, pack as createPack } from "tar-stream";
import { TsbuildError } from "../errors.js";
import { digestFromHex, digestOf, hexOf } from "../oci/digest.js";
import { encodeJson } from "../oci/json.js";
import { layerCompression } from "../oci/media-types.js";
import type { Descriptor } from "../oci/types.js";
import { openOutputFile, type OutputFile } from "./output-files.js";
import { once, type OutputBlob, type OutputImage } from "./output-image.js";

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

function wrongBytes({ digest, size }: Descriptor, found: string): TsbuildError {
  return new TsbuildError(
    "STORE_FAILED",
    `tried to write ${WHAT}: the bytes of blob ${digest} of ${size} bytes are ${found}`,
    { hint: "the source is damaged or was cut short; try again" },
  );
}

/** The archive's other end: its bytes go to the file, and `failed` never resolves, so that every wait can race it. */
interface Drain {
  readonly done: Promise<void>;
  readonly failed: Promise<never>;
}

function drain(pack: Pack, output: OutputFile): Drain {
  const done = (async (): Promise<void> => {
    // The package types its streams by what any stream may carry; this one carries what `append` wrote.
    for await (const chunk of pack as AsyncIterable<Uint8Array>) await output.write(chunk);
  })();
  const failed = new Promise<never>((_, reject) => {
    done.catch(reject);
  });
  failed.catch(() => undefined); // Whoever waits races it; between two waits nobody listens.
  return { done, failed };
}

/** Appends one file. Its size stands in front of it, so a source that gives other bytes is an error, never a bad archive. */
async function append(
  pack: Pack,
  name: string,
  blob: OutputBlob,
  failed: Promise<never>,
  signal: AbortSignal,
): Promise<void> {
  const { digest, size } = blob.descriptor;
  const entry = pack.entry({ name, size, mode: 0o644, mtime: new Date(0) });
  const closed = eventOf(entry, "close");
  closed.catch(() => undefined);
  const hash = createHash("sha256");
  let written = 0;
  for await (const chunk of blob.open(signal)) {
    signal.throwIfAborted();
    written += chunk.byteLength;
    if (written > size) throw wrongBytes(blob.descriptor, "longer");
    hash.update(chunk);
    if (!entry.write(chunk)) await Promise.race([eventOf(entry, "drain"), failed]);
  }
  const found = digestFromHex(hash.digest("hex"));
  if (found !== digest) throw wrongBytes(blob.descriptor, `${found} of ${written} bytes`);
  entry.end(undefined);
  await Promise.race([closed, failed]);
}

async function appendAll(
  pack: Pack,
  image: OutputImage,
  repoTags: readonly string[],
  failed: Promise<never>,
  signal: AbortSignal,
): Promise<void> {
  const { config, layers } = image;
  const names = layers.map((layer) => layerName(layer.descriptor));
  const configName = `${hexOf(config.descriptor.digest)}.json`;
  const add = (name: string, blob: OutputBlob): Promise<void> =>
    append(pack, name, blob, failed, signal);
  const addBytes = (name: string, bytes: Uint8Array): Promise<void> => {
    const descriptor = { mediaType: "", digest: digestOf(bytes), size: bytes.byteLength };
    return add(name, { descriptor, open: () => once(bytes) });
  };

  await add(configName, { descriptor: config.descriptor, open: () => once(config.bytes) });
  const unique = new Map(layers.map((layer, index) => [names[index] ?? "", layer]));
  for (const [name, layer] of unique) await add(name, layer);
  const manifest = [{ Config: configName, RepoTags: repoTags, Layers: names }];
  await addBytes("manifest.json", encodeJson(manifest));
  pack.finalize();
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
  await using output = await openOutputFile(path, WHAT);
  const stop = new AbortController();
  const pack = createPack();
  const { done, failed } = drain(pack, output);
  failed.catch((error: unknown) => stop.abort(error));
  try {
    await appendAll(pack, image, repoTags, failed, AbortSignal.any([signal, stop.signal]));
    await done;
  } catch (error) {
    pack.destroy();
    await done.catch(() => undefined);
    throw error;
  }
  signal.throwIfAborted();
  await output.commit();
}
