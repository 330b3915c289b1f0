import { mkdir, readFile, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { TsbuildError, errnoOf } from "../errors.js";
import {
  removeAbandonedSiblings,
  temporarySibling,
  writeFileAtomic,
} from "../internal/atomic-file.js";
import { createSemaphore } from "../internal/semaphore.js";
import { hexOf } from "../oci/digest.js";
import { serializeIndex } from "../oci/manifest.js";
import { dockerName, type Reference } from "../oci/reference.js";
import type { Descriptor } from "../oci/types.js";
import { failure } from "./failure.js";
import { holdsContent, writeHashed } from "./hashed-file.js";
import { blobsOf, type OutputBlob, type OutputImage, type OutputIndex } from "./output-image.js";
import { removeTree } from "./remove-tree.js";

/** image-spec/annotations.md: the tag, in an index.json. */
export const REF_NAME = "org.opencontainers.image.ref.name";
/** What containerd and Docker call the image by, in an index.json. */
export const IMAGE_NAME = "io.containerd.image.name";
/** image-spec/image-layout.md */
export const LAYOUT_FILE = "oci-layout";
export const LAYOUT_VERSION = "1.0.0";

/** Blobs written at once: some come over the network, and one of them should not wait for another's latency. */
const PARALLEL_BLOBS = 3;
/** What stands in an otherwise empty volume, and where those who add to a layout take turns. */
export const LAYOUT_LOCK = ".tsbuild-lock";
const IGNORED: ReadonlySet<string> = new Set(["lost+found", LAYOUT_LOCK]);

function refused(path: string, why: string): TsbuildError {
  return new TsbuildError("STORE_FAILED", `tried to write an OCI layout at ${path}: ${why}`, {
    hint: "name a directory that is absent, empty, or an OCI layout already",
  });
}

/** @throws TsbuildError STORE_FAILED */
export async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failure("write an OCI layout", path, error);
  }
}

/** Whether a directory is there to write into; nothing that is not a layout may be mixed with one. */
export async function isUsableDirectory(path: string): Promise<boolean> {
  let names: readonly string[];
  try {
    names = (await readdir(path)).filter((name) => !IGNORED.has(name));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    if (errnoOf(error) === "ENOTDIR") throw refused(path, "it is not a directory");
    throw failure("read the directory of an OCI layout", path, error);
  }
  if (names.length === 0) return true;
  if (!names.includes(LAYOUT_FILE)) {
    throw refused(path, "the directory holds other files and is no OCI layout");
  }
  const marker = await onDisk(path, () => readFile(join(path, LAYOUT_FILE), "utf8"));
  if (!marker.includes(`"${LAYOUT_VERSION}"`)) {
    throw refused(path, `its ${LAYOUT_FILE} file does not say version ${LAYOUT_VERSION}`);
  }
  return true;
}

/** Makes sure of one blob. @returns its path when it was not there before */
export async function placeBlob(
  directory: string,
  blob: OutputBlob,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { digest } = blob.descriptor;
  const path = join(directory, hexOf(digest));
  const existed = await stat(path).catch(() => undefined);
  if (existed !== undefined && (await holdsContent(path, blob.descriptor, signal)))
    return undefined;
  await removeAbandonedSiblings(path);
  const temporary = temporarySibling(path);
  try {
    await writeHashed(temporary, blob.open(signal), {
      what: `blob ${digest} of an OCI layout`,
      expected: blob.descriptor,
      asFailure: (error) => failure("write an OCI layout", temporary, error),
      signal,
    });
    await onDisk(path, () => rename(temporary, path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  return existed === undefined ? path : undefined;
}

/** All blobs, some at once; the first failure stops the others, and takes back what this call has added. */
async function placeBlobs(
  directory: string,
  blobs: Iterable<OutputBlob>,
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const permits = createSemaphore(PARALLEL_BLOBS);
  const added: string[] = [];
  const place = async (blob: OutputBlob): Promise<void> => {
    try {
      using _permit = await permits.acquire(either);
      const path = await placeBlob(directory, blob, either);
      if (path !== undefined) added.push(path);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  };
  const results = await Promise.allSettled(Array.from(blobs, place));
  if (results.every((result) => result.status === "fulfilled")) return;
  for (const path of added) await rm(path, { force: true }).catch(() => undefined);
  throw signal.aborted ? signal.reason : stop.signal.reason;
}

/** What names the image in a layout's index.json: an entry for each name, as BuildKit writes it; without names one. */
export function layoutEntries(
  image: OutputImage | OutputIndex,
  references: readonly Reference[],
): readonly Descriptor[] {
  const { descriptor } = image.manifest;
  const platform =
    "platform" in image && image.platform !== undefined ? { platform: image.platform } : {};
  const named = references.filter(({ tag }) => tag !== undefined);
  if (named.length === 0) return [{ ...descriptor, ...platform }];
  return named.map((reference) => {
    const names = { [IMAGE_NAME]: dockerName(reference), [REF_NAME]: reference.tag ?? "" };
    return { ...descriptor, annotations: { ...descriptor.annotations, ...names }, ...platform };
  });
}

/** The index comes last: until it is there, or while the former one is, no reader sees a part of the image. */
async function fill(
  path: string,
  image: OutputImage | OutputIndex,
  references: readonly Reference[],
  signal: AbortSignal,
): Promise<void> {
  const directory = join(path, "blobs", "sha256");
  const marker = JSON.stringify({ imageLayoutVersion: LAYOUT_VERSION });
  await onDisk(path, async () => {
    await mkdir(path, { recursive: true });
    await writeFileAtomic(join(path, LAYOUT_FILE), marker);
    await mkdir(directory, { recursive: true });
  });
  await placeBlobs(directory, blobsOf(image), signal);
  signal.throwIfAborted();
  const index = serializeIndex("oci", layoutEntries(image, references));
  await onDisk(path, () => writeFileAtomic(join(path, "index.json"), index.bytes));
}

/** Writes beside `path` and moves the whole there. */
async function create(
  path: string,
  image: OutputImage | OutputIndex,
  references: readonly Reference[],
  signal: AbortSignal,
): Promise<void> {
  await onDisk(path, () => mkdir(dirname(path), { recursive: true }));
  await removeAbandonedSiblings(path);
  const temporary = temporarySibling(path);
  try {
    await fill(temporary, image, references, signal);
    await onDisk(path, () => rename(temporary, path));
  } catch (error) {
    await removeTree(temporary);
    throw error;
  }
}

/**
 * Writes an image, or an index of images, as an OCI layout with an entry for each of its names, complete or absent: a new directory appears whole; in an
 * existing layout the image takes the place of the former one by the last step, and blobs that are there are used (after
 * their hashes were checked). Tags of `references` become `ref.name`s.
 * @throws TsbuildError STORE_FAILED when another directory stands there, the disk refuses, or a source is damaged
 */
export async function writeOciLayout(
  path: string,
  image: OutputImage | OutputIndex,
  references: readonly Reference[],
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const target = join(dirname(path), basename(path));
  if (!(await isUsableDirectory(target))) return create(target, image, references, signal);
  const real = await onDisk(target, () => realpath(target));
  const wasEmpty = !(await readdir(real)).includes(LAYOUT_FILE);
  try {
    await fill(real, image, references, signal);
  } catch (error) {
    if (wasEmpty) await takeBack(real);
    throw error;
  }
}

/** What a failed build put into a directory that was empty. */
async function takeBack(directory: string): Promise<void> {
  for (const name of ["blobs", LAYOUT_FILE, "index.json"]) {
    await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
  }
}
