import type { DiffId } from "../oci/digest.js";
import type { RootMount } from "./snapshot/types.js";
import type { InPlaceOptions, LayerBlob, SealedFiles, SealOptions } from "./types.js";

/** How {@link LayerHost} keeps root filesystems in namespaces: as overlay mounts of unpacked layers, or as one directory that is scanned. */
export type SnapshotDriver = "overlay" | "plain";

/** Or without namespaces: as "/" itself, or as a directory of a user who may change no owner and enter no root. */
export type RootDriver = SnapshotDriver | "in-place" | "proot";

/** A filesystem in memory, for what overlay mounts write to where no other takes upper directories. */
export interface Memory {
  readonly directory: string;
  /** What fits in. */
  readonly bytes: number;
}

export interface LayerHostOptions {
  /** The staging directory of this build, on the filesystem of `layersDirectory`. */
  readonly staging: string;
  /** Where unpacked layers of this id map are kept: `<hex>` of a diffId, or of a chain id. Shared with other builds. */
  readonly layersDirectory: string;
  /** Names the id map, as `HostReport.idMap` does: for messages. */
  readonly idMap: string;
  readonly driver: RootDriver;
  /** The namespace maps one id only: owners cannot be kept, everything belongs to 0:0. */
  readonly singleId: boolean;
  /** With the driver `in-place`, and only then. */
  readonly inPlace?: InPlaceOptions;
  /**
   * With the driver `overlay`, where the kernel mounts images of layers: the directory, on the same filesystem and shared
   * with other builds, that keeps them and the tars they speak of. Absent: every layer is unpacked.
   */
  readonly mountedLayers?: string;
  /** With the driver `overlay`: where upper directories lie instead of in `staging`. */
  readonly uppers?: Memory;
  /** The file of the thread that enters roots; absent: the built one. */
  readonly threadFile?: string;
}

/**
 * Root filesystems inside the worker's namespaces. It describes what to mount and never mounts: whoever runs a step
 * does; only layers that are mounted instead of unpacked are mounted here. Everything that touches an image's files
 * happens in threads that are confined to that image's root.
 */
export interface LayerHost extends AsyncDisposable {
  /** A root made of these layers, lowest first. Each layer is unpacked once, however many roots share it. @throws TsbuildError STORE_FAILED, HOST_UNSUPPORTED (owners or device nodes that this host cannot keep), ABORTED */
  prepare(layers: readonly LayerBlob[], signal: AbortSignal): Promise<StageRoot>;
  /** Unpacks layers, lowest first, that roots will have in common; where each root has its own files it does nothing. */
  unpackAhead(layers: readonly LayerBlob[], signal: AbortSignal): Promise<void>;
  /** The same to be read from alone: where there can be one root at a time, these are none. */
  prepareSource(layers: readonly LayerBlob[], signal: AbortSignal): Promise<SourceRoot>;
  /** Index files that unpacking made since the last call, in the staging directory, once per layer. */
  takeIndexes(): Promise<readonly { readonly diffId: DiffId; readonly file: string }[]>;
  /** What unpacking could not keep here since the last call (device nodes, some attributes), one line each, for people to read. */
  takeWarnings(): Promise<readonly string[]>;
  /** All that a directory holds, as a layer; `undefined` where the driver cannot tell. Nothing may write to it meanwhile. */
  packDirectory(
    path: string,
    options: SealOptions,
    signal: AbortSignal,
  ): Promise<SealedFiles | undefined>;
  /** Deletes a directory of a build that was killed, whoever owns what is in it. Absent is fine. */
  removeTree(path: string, signal: AbortSignal): Promise<void>;
}

/** What a step mounts something of, for itself: it may be written to and is thrown away. */
export interface SourceRoot extends AsyncDisposable {
  begin(): RootMount;
}

/** One stage's root. Steps run between `begin` and `end`, one at a time; `add` and `seal` only outside of them. */
export interface StageRoot extends AsyncDisposable {
  /** Puts a layer on top. What changed since the last `seal` must have been sealed before. */
  add(layer: LayerBlob, signal: AbortSignal): Promise<void>;
  /** What to mount for a step. Several steps between two seals share one upper directory. */
  begin(): RootMount;
  /**
   * The step is over and nothing of it is mounted or alive any more. `restored` (of "directory" roots alone) names
   * what the sandbox itself touched, as paths of changes: directories in which it made mount points and removed them
   * again, and what it put aside for the step's time. Their ctime says nothing.
   */
  end(restored?: readonly string[]): void;
  /** What changed since `prepare`, `add` or the last `seal`, as a layer that is the root's topmost one from now on. */
  seal(options: SealOptions, signal: AbortSignal): Promise<SealedFiles>;
}
