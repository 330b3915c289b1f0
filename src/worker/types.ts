import type { SealedLayer } from "../layer/types.js";
import type { DiffId } from "../oci/digest.js";
import type { Compression, ImageFormat } from "../oci/types.js";
import type { ExitStatus, ProcessOutput, ProcessSpec, StepMount } from "./sandbox/types.js";

/** A layer whose blob is in the store, or on its way there. */
export interface LayerBlob {
  readonly diffId: DiffId;
  /** The blob's file. */
  readonly path: string;
  readonly compression: Compression;
  /** The blob is still being pulled, and its file has another name until it is whole. */
  readonly coming?: {
    readonly path: string;
    /** Bytes that it will have. */
    readonly size: number;
  };
}

/** How a layer of a live view is sealed; where its files go the worker chooses, in the staging directory. */
export interface SealOptions {
  readonly compression: Compression;
  readonly level?: number;
  readonly format: ImageFormat;
  readonly clampMtimeNs?: bigint;
}

/** Files in the staging directory, for the store to adopt. */
export interface SealedFiles {
  readonly layer: SealedLayer;
  readonly blobFile: string;
  readonly indexFile: string;
}

/** A mount whose source the worker makes: it leaves no trace in the layer, and goes when the step ends unless it says otherwise. */
export type MadeMount =
  | {
      /** The filesystem of an image, or what is at `source` in it. */
      readonly kind: "image";
      /** Lowest first. */
      readonly layers: readonly LayerBlob[];
      /** Relative to the image's root; symlinks are followed inside of it. */
      readonly source: string;
      readonly target: string;
      /** When false, what the step writes is thrown away. */
      readonly readonly: boolean;
    }
  | {
      /** A directory of the store that lasts from build to build. */
      readonly kind: "cache";
      /** Names the directory; 64 hex digits. */
      readonly key: string;
      /** Relative to the cache; never leaves it. */
      readonly source: string;
      readonly target: string;
      readonly readonly: boolean;
      /** What a new cache is given. */
      readonly uid: number;
      readonly gid: number;
      readonly mode: number;
      /** `locked` waits for other steps with this cache, those of other builds too; `private` takes a new one beside a cache that is in use. */
      readonly sharing: "shared" | "private" | "locked";
      /** What a new cache holds at first. */
      readonly seed?: { readonly layers: readonly LayerBlob[]; readonly source: string };
    }
  | {
      /** A Unix socket of the host, as one of the step's own user. */
      readonly kind: "socket";
      readonly path: string;
      readonly target: string;
      readonly uid: number;
      readonly gid: number;
      readonly mode: number;
    };

/** A step: {@link ProcessSpec} with the mounts that the worker makes. Later mounts lie on earlier ones. */
export interface StepSpec extends Omit<ProcessSpec, "mounts"> {
  readonly mounts: readonly (StepMount | MadeMount)[];
  /** That of the step's programs, as images call it, where it is not this machine's. */
  readonly architecture?: string;
}

/**
 * Where stages live and run. Implemented in the front process by a client that talks to `child.ts` inside the
 * namespaces. Only data crosses; bulk bytes go through the store's directories; no credential ever does.
 */
export interface Worker extends AsyncDisposable {
  readonly host: HostReport;
  /** Roots that may exist at once; 1 when the root is "/" itself: then stages take turns. */
  readonly maxViews: number;
  /** A root filesystem made of these layers, lowest first: unpacks what is not unpacked yet, each once. */
  prepare(layers: readonly LayerBlob[], signal: AbortSignal): Promise<View>;
  /**
   * Unpacks layers, lowest first, for roots that are made of them later: the upper ones may still be on their way. Where
   * layers are unpacked for one root alone it does nothing. What is wrong with a layer is said again by `prepare`.
   */
  unpackAhead?(layers: readonly LayerBlob[], signal: AbortSignal): Promise<void>;
  /** Index files that unpacking made on the way, once each, for the store to adopt. */
  takeIndexes(): Promise<readonly { readonly diffId: DiffId; readonly file: string }[]>;
  /**
   * What a cache of steps holds, as a layer; `undefined` where there is none of that key, where somebody is using it, or
   * where the driver cannot tell. Absent: caches are never packed.
   */
  packCache?(
    key: string,
    options: SealOptions,
    signal: AbortSignal,
  ): Promise<SealedFiles | undefined>;
  /** What this host could not keep of the layers that were unpacked since the last call, one line each. */
  takeWarnings?(): Promise<readonly string[]>;
}

/** A stage's root filesystem while it is being built. Disposing unmounts and deletes. */
export interface View extends AsyncDisposable {
  /** Puts a layer that was sealed elsewhere (COPY, WORKDIR) on top. Called with nothing running. */
  add(layer: LayerBlob, signal: AbortSignal): Promise<void>;
  run(
    spec: StepSpec,
    on: { output(output: ProcessOutput): void },
    signal: AbortSignal,
  ): Promise<ExitStatus>;
  /** What changed since `prepare`, `add` or the last `seal`, as a layer that now is the view's topmost one. */
  seal(options: SealOptions, signal: AbortSignal): Promise<SealedFiles>;
}

export interface RefusedDriver {
  readonly driver: string;
  readonly because: string;
  readonly allowedBy: string;
  /** A line of a Pod's spec that would allow it, where there is one. */
  readonly podSpec?: string;
}
/** How the layers of an image become directories that an overlay is mounted of. */
export type LayersReport =
  { readonly kind: "mounted" } | { readonly kind: "unpacked"; readonly because: string };

export interface HostReport {
  readonly driver: DriverName;
  /** Names the id map, as a directory name: `host`, or the map's lines joined. */
  readonly idMap: string;
  readonly refused: readonly RefusedDriver[];
  /** Steps see, and may signal, processes of the build and of one another: they have no pid namespaces. */
  readonly sharesPids: boolean;
  /** Bytes of memory that hold what steps write, where the store's filesystem cannot. */
  readonly memoryBytes?: number;
  /** Of the drivers that mount overlays, and absent with the others. */
  readonly layers?: LayersReport;
}
export type DriverName =
  "overlay" | "plain" | "single-id-overlay" | "single-id-plain" | "in-place" | "proot";

/** What the driver that rewrites "/" has to know; it exists inside a throw-away container alone. */
export interface InPlaceOptions {
  /** The builder's own directory, never wiped and never in a layer; `/kaniko` in the executor image. */
  readonly home: string;
  /** Paths that are never wiped, written by layers or put into one, besides every mount point. */
  readonly ignored: readonly string[];
  /** Rewrite "/" although nothing says that this is a container. A host is refused all the same. */
  readonly force: boolean;
  /** Wipe "/" before the first stage, although it holds a system that no build has put there. */
  readonly wipeFirst: boolean;
  /** Wipe "/" when the worker is disposed. */
  readonly wipeLast: boolean;
  /** Put back after that what "/" held at first. */
  readonly preserve: boolean;
}

/** Whether layers are mounted where that works. */
export type LayerMounts = "auto" | "off";

export interface WorkerOptions {
  /** `auto` takes the best that the host allows. */
  readonly driver: "auto" | DriverName;
  /** The store's staging directory of this build. */
  readonly staging: string;
  /** Where unpacked layers of one id map are kept and found; and those that are mounted, as if `erofs` were one. */
  readonly layersDirectory: (idMap: string) => Promise<string>;
  /** `off`: layers are unpacked, although they could be mounted. Default: `auto`. */
  readonly layerMounts?: LayerMounts;
  /**
   * Opens the store to another user and group, who is root in a namespace, and gives the directory that holds all of it.
   * Absent: no such namespace is tried.
   */
  readonly admit?: (
    owner: { readonly uid: number; readonly gid: number },
    idMap: string,
  ) => Promise<string>;
  /** Where caches of steps last, on the filesystem of `staging`; absent: a step cannot have one. */
  readonly cachesDirectory?: (idMap: string) => Promise<string>;
  /** Absent: the driver that rewrites "/" is not tried. */
  readonly inPlace?: InPlaceOptions;
  /** Architectures that steps are expected to have besides this machine's. */
  readonly foreign?: readonly string[];
  /** Left behind by builds that were killed; deleted in the background, inside the namespace. */
  readonly abandoned: readonly string[];
  readonly signal: AbortSignal;
}
