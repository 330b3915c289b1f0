import { messageOf } from "../../errors.js";
import { parseIndex, parseManifest } from "../../oci/manifest.js";
import { isIndex } from "../../oci/media-types.js";
import type { Descriptor } from "../../oci/types.js";
import type { CacheKey } from "../../solver/cache/key.js";
import type { RecordBook, StepRecord } from "../../solver/cache/types.js";
import type { Emit } from "../../solver/types.js";
import { readEntries, readPage, RECORDS } from "./page.js";
import type { CachePlace, PageName } from "./place.js";

/** Images of an index that are looked at; each is another request. */
const MAX_IMAGES = 16;

type Records = ReadonlyMap<CacheKey, StepRecord>;

/** A book that is read as a whole when it is first asked, and never written: a page, or an image with records inside. */
export function pageBook(place: CachePlace, name: PageName, emit: Emit): RecordBook {
  let loading: Promise<Records> | undefined;
  const load = async (signal: AbortSignal): Promise<Records> => {
    try {
      return await readAll(place, name, signal);
    } catch (error) {
      signal.throwIfAborted();
      const message = `the cache ${place.name} is not looked into: ${messageOf(error)}`;
      emit({ type: "notice", message });
      return new Map();
    }
  };
  return {
    name: `the cache ${place.name}`,
    has: place.has,
    async find(key, signal) {
      loading ??= load(signal);
      return (await loading).get(key);
    },
    save: () => Promise.resolve(),
  };
}

async function readAll(place: CachePlace, name: PageName, signal: AbortSignal): Promise<Records> {
  const top = await place.manifest(name, signal);
  if (top === undefined) return new Map();
  const images = imagesOf(top);
  if (images === undefined) return readImage(place, top, signal);
  const all: (readonly [CacheKey, StepRecord])[] = [];
  for (const { digest } of images) {
    const bytes = await place.manifest({ digest }, signal);
    if (bytes !== undefined) all.push(...(await readImage(place, bytes, signal)));
  }
  return new Map(all);
}

/** The images of an index; `undefined` for what is none. Attestations have records of nothing. */
function imagesOf(bytes: Uint8Array): readonly Descriptor[] | undefined {
  let index;
  try {
    index = parseIndex(bytes);
  } catch {
    return undefined;
  }
  return index.manifests
    .filter(({ mediaType, platform }) => !isIndex(mediaType) && platform?.os !== "unknown")
    .slice(0, MAX_IMAGES);
}

async function readImage(
  place: CachePlace,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<Records> {
  const locate = (layer: Descriptor): ReturnType<CachePlace["locate"]> => place.locate(layer);
  const page = readPage(bytes, locate);
  if (page.size > 0) return page;
  const { config, layers } = parseManifest(bytes);
  const fields: unknown = JSON.parse(new TextDecoder().decode(await place.read(config, signal)));
  const written: unknown =
    typeof fields === "object" && fields !== null ? Reflect.get(fields, RECORDS) : undefined;
  return readEntries(written, layers, locate);
}
