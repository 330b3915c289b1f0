import type { DiskUsage } from "../internal/disk-usage.js";
import type { DiffId } from "../oci/digest.js";
import { ERROR_CODES, errnoOf, messageOf, TsbuildError, type ErrorCode } from "../errors.js";
import type { RootDriver } from "./layer-host-types.js";
import type { ExitStatus, ProcessOutput } from "./sandbox/types.js";
import type {
  InPlaceOptions,
  LayerBlob,
  LayersReport,
  RefusedDriver,
  SealedFiles,
  SealOptions,
  StepSpec,
} from "./types.js";

/** What the front process asks of the worker's process. Views are numbered by it. */
export type Request =
  | {
      readonly op: "probe";
      readonly staging: string;
      /** The worker has no pid namespace of its own. */
      readonly sharesPids: boolean;
      /** The directory that the worker started in, to be found under its name although those above it are closed. */
      readonly reach?: string;
      /** Bytes of memory that upper directories may take where they cannot lie in `staging`. */
      readonly memoryBytes?: number;
      /** See whether layers can be mounted instead of unpacked. */
      readonly layerMounts: boolean;
    }
  /** Where the process has no namespaces of its own: may it do what this driver does? */
  | {
      readonly op: "probeWithout";
      readonly driver: "in-place" | "proot";
      readonly staging: string;
      readonly inPlace?: InPlaceOptions;
    }
  | {
      readonly op: "open";
      readonly staging: string;
      readonly layersDirectory: string;
      /** Where layers are kept that are mounted; absent: all are unpacked. */
      readonly mountedLayers?: string;
      /** Where caches of steps last; absent: a step cannot have one. */
      readonly cachesDirectory?: string;
      readonly idMap: string;
      readonly driver: RootDriver;
      readonly singleId: boolean;
      readonly overlayOptions: string;
      readonly sharesPids: boolean;
      /** Bytes: upper directories lie in memory, of at most this size. */
      readonly memoryBytes?: number;
      /** With the driver `in-place`, and only then. */
      readonly inPlace?: InPlaceOptions;
      /** Directories to delete in the background. */
      readonly abandoned: readonly string[];
    }
  | { readonly op: "prepare"; readonly layers: readonly LayerBlob[] }
  | { readonly op: "unpackAhead"; readonly layers: readonly LayerBlob[] }
  | { readonly op: "add"; readonly view: number; readonly layer: LayerBlob }
  | { readonly op: "run"; readonly view: number; readonly spec: StepSpec }
  | { readonly op: "seal"; readonly view: number; readonly options: SealOptions }
  | { readonly op: "dispose"; readonly view: number }
  | { readonly op: "packCache"; readonly key: string; readonly options: SealOptions }
  /** What trees of the store take, or their end: no worker has to be open. `reach` as for the probe. */
  | { readonly op: "measure"; readonly paths: readonly string[]; readonly reach?: string }
  | { readonly op: "remove"; readonly paths: readonly string[]; readonly reach?: string }
  | { readonly op: "takeIndexes" }
  | { readonly op: "takeWarnings" }
  /** Disposes everything; the process ends by itself after the answer. */
  | { readonly op: "close" };

/** What each request is answered with. */
export interface Answers {
  readonly probe: ProbeReport;
  /** Why not; `undefined` when it works. */
  readonly probeWithout: Omit<RefusedDriver, "driver"> | undefined;
  readonly open: undefined;
  readonly prepare: { readonly view: number };
  readonly unpackAhead: undefined;
  readonly add: undefined;
  readonly run: ExitStatus;
  readonly seal: SealedFiles;
  readonly dispose: undefined;
  readonly packCache: SealedFiles | undefined;
  readonly measure: readonly DiskUsage[];
  readonly remove: undefined;
  readonly takeIndexes: readonly { readonly diffId: DiffId; readonly file: string }[];
  readonly takeWarnings: readonly string[];
  readonly close: undefined;
}

/** What the namespaces of the worker's process allow. */
export interface ProbeReport {
  /** A root of its own can be mounted and entered. */
  readonly canMount: boolean;
  /** The mount options that overlay mounts take here; `undefined` when none can be used. */
  readonly overlayOptions: string | undefined;
  /** Overlay mounts take upper directories in memory alone. */
  readonly needsMemory: boolean;
  /** The worker's pid namespace cannot have a /proc: steps must do without such namespaces. */
  readonly hidesProc: boolean;
  /** Whether layers can be mounted instead of unpacked. Absent: that was not asked, or no overlay mount would be there for them. */
  readonly layers?: LayersReport;
  readonly refused: readonly Omit<RefusedDriver, "driver">[];
}

export type ToChild =
  | { readonly kind: "request"; readonly id: number; readonly request: Request }
  /** The answer still comes: an ABORTED error, unless it was on its way. */
  | { readonly kind: "cancel"; readonly id: number };

export type FromChild =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number; readonly error: WireError }
  | { readonly kind: "output"; readonly id: number; readonly output: ProcessOutput };

/** A {@link TsbuildError} as it crosses between processes. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly exitCode: number;
}

export function toWire(error: unknown): WireError {
  if (error instanceof TsbuildError) {
    const { code, message, hint, exitCode } = error;
    return { code, message, exitCode, ...(hint === undefined ? {} : { hint }) };
  }
  const isDiskFull = errnoOf(error) === "ENOSPC" || errnoOf(error) === "EDQUOT";
  const code = isDiskFull ? "STORE_FAILED" : "INTERNAL";
  const message = `tried to work on a stage: ${messageOf(error)}`;
  return { code, message, exitCode: ERROR_CODES[code] };
}

export function fromWire(error: WireError): TsbuildError {
  return new TsbuildError(error.code, error.message, {
    exitCode: error.exitCode,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}
