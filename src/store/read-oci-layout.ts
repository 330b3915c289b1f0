import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { TsbuildError, messageOf } from "../errors.js";
import { hexOf } from "../oci/digest.js";
import { parseIndex, selectManifest } from "../oci/manifest.js";
import { isIndex } from "../oci/media-types.js";
import { formatPlatform } from "../oci/platform.js";
import type { Descriptor, Platform } from "../oci/types.js";
import { readHashed } from "./hashed-file.js";
import { IMAGE_NAME, LAYOUT_FILE, LAYOUT_VERSION, REF_NAME } from "./oci-layout.js";
import type { OutputBytes } from "./output-image.js";

/** Bytes; registries refuse larger manifests, and what we read whole has to be bounded. */
const MAX_DOCUMENT = 4 * 1024 * 1024;
/** An index may name an index; one that names itself cannot exist, but a chain could be made long. */
const MAX_DEPTH = 4;

/** An OCI layout as a source of images. */
export interface OciLayout {
  readonly path: string;
  /** The entries of index.json. */
  readonly manifests: readonly Descriptor[];
  /**
   * The image manifest that a tag, a full name or a digest (`sha256:…`) names; without one, the only image there is.
   * An index is followed to its best entry for the platform.
   * @throws TsbuildError CONTEXT_UNREADABLE
   */
  resolve(
    reference: string | undefined,
    platform: Platform,
    signal: AbortSignal,
  ): Promise<OutputBytes>;
  /** A small blob as a whole, verified: a manifest or a config. @throws TsbuildError CONTEXT_UNREADABLE */
  read(blob: Descriptor, signal: AbortSignal): Promise<Uint8Array>;
  /** A blob's bytes; throws CONTEXT_UNREADABLE at the end if they are not the descriptor's. */
  open(blob: Descriptor, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

function unreadable(path: string, why: string, cause?: unknown, hint?: string): TsbuildError {
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to read the OCI layout at ${path}: ${why}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

async function readDocument(root: string, name: string): Promise<Uint8Array> {
  const path = join(root, name);
  try {
    const { size } = await stat(path);
    if (size > MAX_DOCUMENT) throw new Error(`it has ${size} bytes`);
    return await readFile(path);
  } catch (error) {
    throw unreadable(
      root,
      `${name}: ${messageOf(error)}`,
      error,
      "name a directory with an OCI layout",
    );
  }
}

async function* openBlob(
  root: string,
  blob: Descriptor,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const path = join(root, "blobs", "sha256", hexOf(blob.digest));
  let found;
  try {
    found = yield* readHashed(path, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw unreadable(root, `blob ${blob.digest}: ${messageOf(error)}`, error);
  }
  if (found.digest === blob.digest && found.size === blob.size) return;
  throw unreadable(root, `blob ${blob.digest} is damaged: ${found.size} bytes, ${found.digest}`);
}

async function readBlob(root: string, blob: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
  if (blob.size > MAX_DOCUMENT) {
    throw unreadable(root, `blob ${blob.digest} has ${blob.size} bytes, too many for a document`);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of openBlob(root, blob, signal)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function isNamed(entry: Descriptor, reference: string): boolean {
  const names = [entry.annotations?.[REF_NAME], entry.annotations?.[IMAGE_NAME], entry.digest];
  return names.includes(reference);
}

function candidates(
  path: string,
  manifests: readonly Descriptor[],
  reference: string | undefined,
): readonly Descriptor[] {
  const named =
    reference === undefined ? manifests : manifests.filter((one) => isNamed(one, reference));
  if (named.length > 0) return named;
  if (reference?.startsWith("sha256:")) {
    throw unreadable(path, `it has no image with the digest ${reference}`);
  }
  const tags = manifests.map((one) => one.annotations?.[REF_NAME] ?? one.digest);
  throw unreadable(
    path,
    reference === undefined ? "it has no image" : `it has no image named "${reference}"`,
    undefined,
    tags.length === 0 ? undefined : `it has ${tags.slice(0, 10).join(", ")}`,
  );
}

/** One of the entries: the only one, else the one for the platform. */
function choose(path: string, entries: readonly Descriptor[], platform: Platform): Descriptor {
  // Each of an image's names has an entry.
  const [only, second] = new Map(entries.map((one) => [one.digest, one])).values();
  if (only !== undefined && second === undefined) return only;
  const best = selectManifest(entries, platform);
  if (best !== undefined) return best;
  throw unreadable(
    path,
    `none of its ${entries.length} images is for ${formatPlatform(platform)}`,
    undefined,
    "name one by its tag or digest",
  );
}

function parseLayoutIndex(path: string, bytes: Uint8Array): readonly Descriptor[] {
  try {
    return parseIndex(bytes).manifests;
  } catch (error) {
    throw unreadable(path, messageOf(error), error);
  }
}

/** Opens a layout: reads its index.json, nothing else. @throws TsbuildError CONTEXT_UNREADABLE when it is none */
export async function openOciLayout(path: string, signal: AbortSignal): Promise<OciLayout> {
  signal.throwIfAborted();
  const marker = new TextDecoder().decode(await readDocument(path, LAYOUT_FILE));
  if (!marker.includes(`"${LAYOUT_VERSION}"`)) {
    throw unreadable(path, `its ${LAYOUT_FILE} file does not say version ${LAYOUT_VERSION}`);
  }
  const manifests = parseLayoutIndex(path, await readDocument(path, "index.json"));
  return {
    path,
    manifests,
    open: (blob, opening) => openBlob(path, blob, opening),
    read: (blob, reading) => readBlob(path, blob, reading),
    async resolve(reference, platform, resolving) {
      let chosen = choose(path, candidates(path, manifests, reference), platform);
      for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
        const bytes = await readBlob(path, chosen, resolving);
        if (!isIndex(chosen.mediaType)) return { descriptor: chosen, bytes };
        const entries = parseLayoutIndex(path, bytes).filter((one) => one.platform !== undefined);
        chosen = choose(path, entries, platform);
      }
      throw unreadable(path, `its indexes are nested deeper than ${MAX_DEPTH}`);
    },
  };
}
