import type { Uses } from "../../internal/in-use.js";
import type { DiffId } from "../../oci/digest.js";
import type { LayerHostOptions } from "../layer-host-types.js";
import type { FileCalls } from "../linux/files.js";
import type { SealTarget } from "../root-jobs.js";
import type { RootThreads } from "../root-threads.js";
import type { SealedFiles, SealOptions } from "../types.js";
import type { SealedLayer } from "../../layer/types.js";

/** What the drivers share within one host. */
export interface SnapshotTools {
  readonly options: LayerHostOptions;
  readonly threads: RootThreads;
  readonly calls: FileCalls;
  /** Of what the store holds. */
  readonly uses: Uses;
  /** A name in the staging directory that was never used. */
  stagingPath(suffix: string): string;
  /** The same on the filesystem that takes upper directories. */
  upperPath(suffix: string): string;
  readonly indexes: {
    /** False when that layer's index is known: the file is the caller's to delete. */
    add(diffId: DiffId, file: string): boolean;
    take(): readonly { readonly diffId: DiffId; readonly file: string }[];
  };
  readonly warnings: {
    add(lines: readonly string[]): void;
    take(): readonly string[];
  };
}

export function sealTarget(tools: SnapshotTools, options: SealOptions): SealTarget {
  return {
    options,
    blobFile: tools.stagingPath(".blob"),
    indexFile: tools.stagingPath(".index"),
  };
}

export function sealedFiles(layer: SealedLayer, { blobFile, indexFile }: SealTarget): SealedFiles {
  return { layer, blobFile, indexFile };
}
