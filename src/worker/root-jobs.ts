import type { SealedLayer, UnpackResult } from "../layer/types.js";
import type { HashingOrder } from "./root-hash.js";
import type {
  ConfinedScan,
  ConfinedScanJob,
  ConfinedSealJob,
  ConfinedUnpacked,
  ConfinedUnpackJob,
  SealedConfined,
} from "./snapshot/confined-jobs.js";
import type { CopyJob, ImageJob, ImageMade } from "./snapshot/mounted-jobs.js";
import type { KeepRules } from "./snapshot/in-place-keep.js";
import type { RootState } from "./snapshot/root-state.js";
import type { ScanRecords } from "./snapshot/scan-records.js";
import type { LayerBlob, SealOptions } from "./types.js";

/** Where a layer being sealed goes: new files in the staging directory. */
export interface SealTarget {
  readonly options: SealOptions;
  readonly blobFile: string;
  readonly indexFile: string;
}

/** Where a job works. */
export interface RootPlace {
  readonly directory: string;
  /** Nothing is entered: roots cannot be, here. */
  readonly direct?: true;
  /** The directory is "/" itself, where not everything is the root's. */
  readonly keep?: KeepRules;
}

/** A layer's tar onto a directory. */
export interface UnpackJob extends RootPlace {
  readonly kind: "unpack";
  readonly form: "lower" | "plain";
  readonly layer: LayerBlob;
  readonly indexFile: string;
  readonly singleId: boolean;
  readonly idMap: string;
}
export interface Unpacked extends UnpackResult {
  readonly skipped: readonly string[];
}

/** Gives directories that a layer only implies the owner, mode and attributes that the layers below give them. */
export interface ImplyJob {
  readonly kind: "imply";
  readonly directory: string;
  readonly paths: readonly string[];
  /** Topmost first. */
  readonly lowers: readonly string[];
  readonly singleId: boolean;
  readonly idMap: string;
}
/** What changed in an upper directory, as a layer. */
export interface SealUpperJob {
  readonly kind: "seal-upper";
  readonly upper: string;
  readonly before: RootState;
  /** Topmost first. */
  readonly lowers: readonly string[];
  readonly target: SealTarget;
}
export interface SealedUpper {
  readonly layer: SealedLayer;
  readonly changes: number;
  readonly describesRoot: boolean;
}

/** Everything below a root, for a later comparison. */
export interface ScanJob extends RootPlace {
  readonly kind: "scan";
  /** A file outside of it, on the same filesystem, to wait for the clock with. */
  readonly probe: string;
}
/** What changed since a scan, as a layer; and the scan for the next time. */
export interface SealScanJob extends RootPlace {
  readonly kind: "seal-scan";
  readonly probe: string;
  /** Absent: everything that is there. */
  readonly before?: ScanRecords;
  /** Directories whose ctime says nothing, see `StageRoot.end`. */
  readonly restored: readonly string[];
  readonly target: SealTarget;
}
export interface SealedScan {
  readonly layer: SealedLayer;
  readonly after: ScanRecords;
}

/** Deletes directories, whoever owns what is in them. */
export interface RemoveJob {
  readonly kind: "remove";
  readonly path: string;
}

/** Deletes all that "/" holds but what is kept. */
export interface WipeJob {
  readonly kind: "wipe";
  readonly keep: KeepRules;
}

/** Each job with its result. All of it can be cloned into another thread. */
export interface RootJobs {
  readonly unpack: { readonly job: UnpackJob; readonly result: Unpacked };
  readonly imply: { readonly job: ImplyJob; readonly result: undefined };
  readonly "seal-upper": { readonly job: SealUpperJob; readonly result: SealedUpper };
  readonly scan: { readonly job: ScanJob; readonly result: ScanRecords };
  readonly "seal-scan": { readonly job: SealScanJob; readonly result: SealedScan };
  readonly "confined-unpack": {
    readonly job: ConfinedUnpackJob;
    readonly result: ConfinedUnpacked;
  };
  readonly "confined-scan": { readonly job: ConfinedScanJob; readonly result: ConfinedScan };
  readonly "confined-seal": { readonly job: ConfinedSealJob; readonly result: SealedConfined };
  readonly copy: { readonly job: CopyJob; readonly result: UnpackResult };
  readonly image: { readonly job: ImageJob; readonly result: ImageMade };
  readonly remove: { readonly job: RemoveJob; readonly result: undefined };
  readonly wipe: { readonly job: WipeJob; readonly result: undefined };
}
export type RootJob = RootJobs[keyof RootJobs]["job"];
export type RootResult = RootJobs[keyof RootJobs]["result"];

/** To the thread. It does one job at a time. */
export type RootRequest =
  | {
      readonly type: "job";
      readonly job: RootJob;
      /** Absent: in place. */
      readonly hashing?: HashingOrder;
    }
  | { readonly type: "abort" };

/** From the thread. */
export type RootReply =
  | { readonly type: "ready" }
  /** The job has much to hash: it waits for the other side of its ring. */
  | { readonly type: "hash" }
  | { readonly type: "done"; readonly result: RootResult }
  | { readonly type: "failed"; readonly error: RootFailure };

/** An error as data: class and cause would not survive the way. */
export interface RootFailure {
  readonly message: string;
  /** Of a TsbuildError, or an errno name. */
  readonly code?: string;
  readonly hint?: string;
  readonly stack?: string;
}
