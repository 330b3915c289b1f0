import { closeSync, linkSync, openSync, statSync } from "node:fs";
import { mkdir, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, TsbuildError } from "../../errors.js";
import { isWholeImage } from "../../layer/index.js";
import { hexOf } from "../../oci/digest.js";
import { MS, type MountCalls } from "../linux/mount.js";
import { sizeOf } from "../open-blob.js";
import {
  chainName,
  describe,
  discard,
  type LayerDirectory,
  type OtherLayers,
  putInPlace,
  use,
  visiblePaths,
  type Wanted,
  UNPACKING_WORTH_A_THREAD,
} from "./layer-directories.js";
import type { SnapshotTools } from "./tools.js";

/** In a layer's directory. The image names the tar's blocks, so neither is of use without the other. */
export const TAR = "layer.tar";
export const IMAGE = "layer.erofs";

/** Layers that the kernel shows as lower directories although nobody has unpacked them. */
export interface MountedLayers extends OtherLayers, AsyncDisposable {}

/**
 * Keeps a layer as its tar and an image of its names and attributes (see `layer/erofs`), and mounts the image, once however
 * many roots share it, in the mount namespace of this process: disposing unmounts, and so does the kernel.
 * @param directory One directory a layer, shared with other builds.
 */
export function openMountedLayers(
  tools: SnapshotTools,
  directory: string,
  mounts: MountCalls,
): MountedLayers {
  const known = new Map<string, LayerDirectory>();
  const place = { tools, mounts, known, directory };
  return {
    async find(wanted, signal) {
      const { layer, below } = wanted;
      for (const name of [hexOf(layer.diffId), chainName(layer, below)]) {
        const found = known.get(name) ?? (await mountKept(place, name, wanted));
        if (found !== undefined) return found;
      }
      const name = await make(place, wanted, signal);
      if (name === undefined) return undefined;
      const made = await mountKept(place, name, wanted);
      if (made === undefined) note(tools, wanted, "its image is gone or damaged");
      return made;
    },
    async [Symbol.asyncDispose]() {
      for (const { path } of known.values()) {
        mounts.unmount(path);
        // It lies in the staging directory, and goes with that if not now.
        await rmdir(path).catch(() => undefined);
      }
      known.clear();
    },
  };
}

interface Place {
  readonly tools: SnapshotTools;
  readonly mounts: MountCalls;
  readonly directory: string;
  /** What is mounted, by the names of directories. */
  readonly known: Map<string, LayerDirectory>;
}

/** One that is not whole is put aside, to be made anew. */
async function mountKept(
  place: Place,
  name: string,
  wanted: Wanted,
): Promise<LayerDirectory | undefined> {
  const { tools, mounts, known } = place;
  const kept = join(place.directory, name);
  if ((await use(tools, kept)) === undefined) return undefined;
  const target = tools.stagingPath(".mounted");
  await mkdir(target);
  try {
    if (!isWhole(kept)) throw new Error("its image is damaged");
    mountImage(mounts, kept, target);
  } catch (error) {
    await rmdir(target);
    note(tools, wanted, messageOf(error));
    await putAside(tools, kept);
    return undefined;
  }
  const mounted = describe(tools, target, wanted.layer.diffId);
  known.set(name, mounted);
  return mounted;
}

function isWhole(kept: string): boolean {
  const { size } = statSync(join(kept, TAR));
  const fd = openSync(join(kept, IMAGE), "r");
  try {
    return isWholeImage(fd, size);
  } finally {
    closeSync(fd);
  }
}

/** By short names: the kernel takes a comma in a device's path for its end. @throws SystemCallError */
export function mountImage(mounts: MountCalls, kept: string, target: string): void {
  process.chdir(kept);
  try {
    // Of the mounts of this layer alone: the overlay above it says what its steps may do.
    const flags = MS.RDONLY | MS.NODEV | MS.NOSUID;
    mounts.mount(IMAGE, target, "erofs", flags, `device=${TAR}`);
  } finally {
    process.chdir("/");
  }
}

async function putAside(tools: SnapshotTools, kept: string): Promise<void> {
  const aside = tools.stagingPath(".damaged");
  try {
    await rename(kept, aside);
  } catch (error) {
    // Another build was faster.
    if (errnoOf(error) === "ENOENT") return;
    throw new TsbuildError("STORE_FAILED", `tried to replace ${kept}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  await discard(tools, aside);
}

/** The name of the directory that has it; `undefined` where the layer cannot be shown this way. */
async function make(
  { tools, directory }: Place,
  { layer, below }: Wanted,
  signal: AbortSignal,
): Promise<string | undefined> {
  const made = tools.stagingPath(".mountable");
  const indexFile = tools.stagingPath(".index");
  await mkdir(made);
  let isKept = false;
  let isIndexKept = false;
  try {
    const inPlace = layer.compression === "none" && linkTar(layer.path, join(made, TAR));
    const tarFile = inPlace ? {} : { tarFile: join(made, TAR) };
    const copied = await tools.threads.run("copy", { layer, ...tarFile, indexFile }, signal, {
      hashBeside: (await sizeOf(layer)) >= UNPACKING_WORTH_A_THREAD ? "at once" : "when much",
    });
    const paths = copied.impliedDirectories.filter((path) => path !== "");
    const name = paths.length === 0 ? hexOf(layer.diffId) : chainName(layer, below);
    const lowers = paths.length === 0 ? [] : visiblePaths(await below.directories());
    const files = { indexFile, imageFile: join(made, IMAGE), tarSize: copied.uncompressedSize };
    const image = await tools.threads.run("image", { ...files, name, paths, lowers }, signal);
    isIndexKept = tools.indexes.add(layer.diffId, indexFile);
    if (image.refused !== undefined) return undefined;
    tools.warnings.add(image.skipped);
    await putInPlace(tools, made, join(directory, name));
    isKept = true;
    return name;
  } finally {
    if (!isKept) await discard(tools, made);
    // What cannot be deleted goes with the staging directory in the end.
    if (!isIndexKept) await rm(indexFile, { force: true }).catch(() => undefined);
  }
}

/** A layer that is stored as a tar is not stored twice: blobs never change. False where the filesystem has no such links. */
function linkTar(blob: string, tar: string): boolean {
  try {
    linkSync(blob, tar);
    return true;
  } catch {
    return false;
  }
}

function note(tools: SnapshotTools, { layer }: Wanted, because: string): void {
  tools.warnings.add([`the layer ${layer.diffId} could not be mounted: ${because}`]);
}
