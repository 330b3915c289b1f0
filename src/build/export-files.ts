import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { TsbuildError } from "../errors.js";
import { encodeName } from "../layer/index.js";
import type { Change } from "../layer/types.js";
import { formatPlatform } from "../oci/platform.js";
import type { Tree } from "../oci/tree.js";
import type { Image } from "../oci/types.js";
import { Layers } from "../solver/layers.js";
import { openOutputFile, writeRootfs } from "../store/index.js";
import { Cleanup } from "./cleanup.js";
import type { PushInput } from "./export-input.js";
import { RootfsTar } from "./export-tar.js";

interface FilesOutput {
  readonly type: "local" | "tar";
  readonly dest: string;
  /** Whether each platform has a directory of its own. Default: where there are several. */
  readonly platformSplit?: boolean;
}

/** An image's files and the directory that they go to; "" is the destination itself. */
interface Rootfs {
  readonly tree: Tree;
  readonly directory: string;
}

/** Writes the files of the images, each in a directory of its own, such as `linux_arm_v7`, or together. */
export async function exportFiles(
  output: FilesOutput,
  images: readonly Image[],
  input: PushInput,
): Promise<void> {
  const layers = new Layers(input);
  await using opened = new Cleanup();
  const isSplit = output.platformSplit ?? images.length > 1;
  const systems: Rootfs[] = [];
  for (const image of images) {
    const contents = opened.use(await layers.contents(image, "the image"));
    await contents.prepare(walk(contents.tree, ""));
    const platform = formatPlatform(image.config.platform).replaceAll("/", "_");
    systems.push({ tree: contents.tree, directory: isSplit ? platform : "" });
  }
  if (!isSplit) refuseOverlaps(systems);
  await (output.type === "tar" ? writeTar : writeLocal)(output.dest, systems, input);
}

/** Directories may be of several platforms, anything else would be lost. @throws TsbuildError USAGE */
function refuseOverlaps(systems: readonly Rootfs[]): void {
  const seen = new Map<string, boolean>();
  for (const { tree } of systems.length === 1 ? [] : systems) {
    for (const { path, entry } of walk(tree, "")) {
      const isDirectory = entry.type === "directory";
      if (!(seen.get(path) ?? true) || (seen.has(path) && !isDirectory)) {
        throw new TsbuildError("USAGE", `tried to write "${path}": two platforms have it`, {
          hint: "leave platform-split=false out, so that each has a directory of its own",
        });
      }
      seen.set(path, isDirectory);
    }
  }
}

/** Every entry below a directory, parents first. */
function* walk(tree: Tree, directory: string): Generator<Change & { kind: "write" }> {
  for (const name of tree.list(directory)) {
    const path = directory === "" ? name : `${directory}/${name}`;
    const entry = tree.lstat(path);
    if (entry === undefined) continue;
    yield { kind: "write", path, entry };
    if (entry.type === "directory") yield* walk(tree, path);
  }
}

async function writeTar(
  dest: string,
  systems: readonly Rootfs[],
  { signal }: PushInput,
): Promise<void> {
  await using output = await openOutputFile(dest, "the tar of the files");
  const tar = new RootfsTar(output, signal);
  const directories = new Set<string>();
  for (const { tree, directory } of systems) {
    const root = tree.lstat("");
    if (directory !== "" && root !== undefined) await tar.add(directory, root);
    tar.begin();
    for (const { path, entry } of walk(tree, "")) {
      const full = directory === "" ? path : `${directory}/${path}`;
      if (directories.has(full)) continue;
      if (entry.type === "directory") directories.add(full);
      await tar.add(full, entry);
    }
  }
  await tar.finish();
  await output.commit();
}

async function writeLocal(
  dest: string,
  systems: readonly Rootfs[],
  { signal, emit }: PushInput,
): Promise<void> {
  for (const { tree, directory } of systems) {
    const below = directory === "" ? {} : { below: directory };
    const lost = await writeRootfs(dest, tree, { encodeName, signal, ...below });
    const shown = join(dest, directory);
    for (const message of lost) emit({ type: "notice", message: `files in ${shown}: ${message}` });
  }
}

/** @throws TsbuildError USAGE for a directory that no build may fill */
export async function checkFilesDestination(dest: string): Promise<void> {
  if ((await realpath(dest).catch(() => dest)) !== "/") return;
  throw new TsbuildError("USAGE", "the files would replace those of this system", {
    hint: "name a directory of its own: --output type=local,dest=DIR",
  });
}
