import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { writeFileAtomic } from "../internal/atomic-file.js";
import { lockDirectory } from "../internal/directory-lock.js";
import { parseIndex, serializeIndex } from "../oci/manifest.js";
import type { Descriptor } from "../oci/types.js";
import { failure } from "./failure.js";
import {
  isUsableDirectory,
  LAYOUT_FILE,
  LAYOUT_LOCK,
  LAYOUT_VERSION,
  onDisk,
  placeBlob,
  REF_NAME,
} from "./oci-layout.js";
import { blobsOf, type OutputImage } from "./output-image.js";

/**
 * Adds an image to an OCI layout, which is made when it is absent, and gives it a tag. Several processes may do so at once;
 * what is there already stays, but for what had the tag.
 * @throws TsbuildError STORE_FAILED when something else stands there, the disk refuses, or a source is damaged
 */
export async function addToOciLayout(
  path: string,
  tag: string,
  image: OutputImage,
  signal: AbortSignal,
): Promise<void> {
  await onDisk(path, () => mkdir(path, { recursive: true }));
  if (!(await exists(join(path, "index.json")))) await ready(path, signal);
  else await isUsableDirectory(path);
  const directory = join(path, "blobs", "sha256");
  for (const blob of blobsOf(image)) await placeBlob(directory, blob, signal);
  await using _turn = await onDisk(path, () => lockDirectory(join(path, LAYOUT_LOCK), signal));
  const named = { ...image.manifest.descriptor, annotations: { [REF_NAME]: tag } };
  const others = (await entriesOf(path)).filter(
    ({ annotations }) => annotations?.[REF_NAME] !== tag,
  );
  const index = serializeIndex("oci", [...others, named]);
  await onDisk(path, () => writeFileAtomic(join(path, "index.json"), index.bytes));
}

/** Makes a layout of an empty directory. */
async function ready(path: string, signal: AbortSignal): Promise<void> {
  await using _turn = await onDisk(path, () => lockDirectory(join(path, LAYOUT_LOCK), signal));
  await isUsableDirectory(path);
  await onDisk(path, async () => {
    const marker = join(path, LAYOUT_FILE);
    const index = join(path, "index.json");
    if (!(await exists(marker))) {
      await writeFileAtomic(marker, JSON.stringify({ imageLayoutVersion: LAYOUT_VERSION }));
    }
    await mkdir(join(path, "blobs", "sha256"), { recursive: true });
    if (!(await exists(index))) await writeFileAtomic(index, serializeIndex("oci", []).bytes);
  });
}

async function entriesOf(path: string): Promise<readonly Descriptor[]> {
  const bytes = await onDisk(path, () => readFile(join(path, "index.json")));
  try {
    return parseIndex(bytes).manifests;
  } catch (error) {
    const why = `its index.json cannot be read: ${messageOf(error)}`;
    throw new TsbuildError("STORE_FAILED", `tried to add to the OCI layout at ${path}: ${why}`, {
      cause: error,
    });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw failure("write an OCI layout", path, error);
  }
}
