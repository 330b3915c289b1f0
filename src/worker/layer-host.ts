import { randomBytes } from "node:crypto";
import { TsbuildError } from "../errors.js";
import { openUses } from "../internal/in-use.js";
import type { DiffId } from "../oci/digest.js";
import type { LayerHost, LayerHostOptions, SourceRoot, StageRoot } from "./layer-host-types.js";
import { openFileCalls } from "./linux/files.js";
import { loadLibc } from "./linux/libc.js";
import { openMountCalls } from "./linux/mount.js";
import { openRootThreads } from "./root-threads.js";
import { openConfinedRoot } from "./snapshot/confined.js";
import { type InPlaceRoots, openInPlaceRoots } from "./snapshot/in-place.js";
import { openLayerDirectories } from "./snapshot/layer-directories.js";
import { openMountedLayers } from "./snapshot/mounted-layers.js";
import { openOverlayRoot, unpackChain } from "./snapshot/overlay.js";
import { openPlainRoot } from "./snapshot/plain.js";
import { sealedFiles, sealTarget, type SnapshotTools } from "./snapshot/tools.js";
import type { SealedFiles } from "./types.js";

/** Runs in the worker's process, inside its namespaces. Disposing ends its threads; roots must be disposed before. */
export function createLayerHost(options: LayerHostOptions): LayerHost {
  // Where roots cannot be entered, what is done in them takes the working directory of the whole process.
  const most = options.driver === "proot" ? 1 : undefined;
  const threads = openRootThreads(options.threadFile, most);
  const tools = createTools(options, threads);
  // Every root of such a host needs one, for its layers or for what a step changes; elsewhere they are short of memory.
  if (options.driver === "overlay") void threads.warm();
  const { mountedLayers } = options;
  const mounted =
    mountedLayers === undefined
      ? undefined
      : openMountedLayers(tools, mountedLayers, openMountCalls(loadLibc()));
  const directories = openLayerDirectories(tools, mounted);
  const inPlace = inPlaceRoots(tools);
  let closed = false;
  const mustBeOpen = (): void => {
    if (closed) throw new TsbuildError("INTERNAL", "tried to prepare a root: the host is closed");
  };
  return {
    async prepare(layers, signal): Promise<StageRoot> {
      mustBeOpen();
      if (inPlace !== undefined) return inPlace.prepare(layers, signal);
      if (options.driver === "proot") return openConfinedRoot(tools, layers, signal);
      return options.driver === "overlay"
        ? openOverlayRoot(tools, directories, layers, signal)
        : openPlainRoot(tools, layers, signal);
    },
    async unpackAhead(layers, signal): Promise<void> {
      mustBeOpen();
      if (options.driver === "overlay") await unpackChain(directories, layers, [], signal);
    },
    async prepareSource(layers, signal): Promise<SourceRoot> {
      mustBeOpen();
      return inPlace === undefined
        ? this.prepare(layers, signal)
        : inPlace.prepareSource(layers, signal);
    },
    takeIndexes: () => Promise.resolve(tools.indexes.take()),
    takeWarnings: () => Promise.resolve(tools.warnings.take()),
    async packDirectory(directory, sealing, signal): Promise<SealedFiles | undefined> {
      mustBeOpen();
      // Where roots cannot be entered, owners are known of roots alone.
      if (options.driver === "proot" || options.driver === "in-place") return undefined;
      const target = sealTarget(tools, sealing);
      const job = { directory, probe: tools.stagingPath(".probe"), restored: [], target };
      const sealed = await threads.run("seal-scan", job, signal, { hashBeside: "when much" });
      return sealedFiles(sealed.layer, target);
    },
    async removeTree(path, signal) {
      await threads.run("remove", { path }, signal);
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      await inPlace?.[Symbol.asyncDispose]();
      await mounted?.[Symbol.asyncDispose]();
      await threads[Symbol.asyncDispose]();
    },
  };
}

function inPlaceRoots(tools: SnapshotTools): InPlaceRoots | undefined {
  const { driver, inPlace } = tools.options;
  if (driver !== "in-place") return undefined;
  if (inPlace === undefined) throw new TsbuildError("INTERNAL", "in place, but not told how");
  return openInPlaceRoots(tools, inPlace);
}

function createTools(
  options: LayerHostOptions,
  threads: ReturnType<typeof openRootThreads>,
): SnapshotTools {
  // The directory is this build's, and the process, whose id is 1, one of several that it may start.
  const prefix = `root-${randomBytes(6).toString("hex")}`;
  const uppers = options.uppers?.directory ?? options.staging;
  let names = 0;
  const known = new Set<DiffId>();
  let indexes: { readonly diffId: DiffId; readonly file: string }[] = [];
  let warnings: string[] = [];
  return {
    options,
    threads,
    calls: openFileCalls(loadLibc()),
    uses: openUses(options.staging),
    stagingPath: (suffix) => `${options.staging}/${prefix}-${names++}${suffix}`,
    upperPath: (suffix) => `${uppers}/${prefix}-${names++}${suffix}`,
    indexes: {
      add(diffId, file) {
        if (known.has(diffId)) return false;
        known.add(diffId);
        indexes.push({ diffId, file });
        return true;
      },
      take() {
        const taken = indexes;
        indexes = [];
        return taken;
      },
    },
    warnings: {
      add: (lines) => void warnings.push(...lines),
      take() {
        const taken = warnings;
        warnings = [];
        return taken;
      },
    },
  };
}
