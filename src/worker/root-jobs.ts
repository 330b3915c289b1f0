import type { SealedLayer, UnpackResult } from "../layer/types.js";
import type { HashRing } from "./root-hash.js";
import type { RootState } from "./snapshot/root-state.js";
import type { ScanRecords } from "./snapshot/scan-records.js";
import type { LayerBlob, SealOptions } from "./types.js";

/** Where a layer being sealed goes: new files in the staging directory. */
export interface SealTarget {
  readonly options: SealOptions;
  readonly blobFile: string;
  readonly indexFile: string;
}

/** A layer's tar onto a directory. */
export interface UnpackJob {
  readonly kind: "unpack";
  readonly directory: string;
  readonly form: "lower" | "plain";
  readonly layer: LayerBlob;
  readonly indexFile: string;
  readonly singleId: boolean;
  readonly idMap: string;
  /** Absent: the thread that unpacks hashes as well. */
  readonly hashRing?: HashRing;
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
export interface ScanJob {
  readonly kind: "scan";
  readonly directory: string;
  /** A file outside of it, on the same filesystem, to wait for the clock with. */
  readonly probe: string;
}
/** What changed since a scan, as a layer; and the scan for the next time. */
export interface SealScanJob {
  readonly kind: "seal-scan";
  readonly directory: string;
  readonly probe: string;
  readonly before: ScanRecords;
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

/** Each job with its result. All of it can be cloned into another thread. */
export interface RootJobs {
  readonly unpack: { readonly job: UnpackJob; readonly result: Unpacked };
  readonly imply: { readonly job: ImplyJob; readonly result: undefined };
  readonly "seal-upper": { readonly job: SealUpperJob; readonly result: SealedUpper };
  readonly scan: { readonly job: ScanJob; readonly result: ScanRecords };
  readonly "seal-scan": { readonly job: SealScanJob; readonly result: SealedScan };
  readonly remove: { readonly job: RemoveJob; readonly result: undefined };
}
export type RootJob = RootJobs[keyof RootJobs]["job"];
export type RootResult = RootJobs[keyof RootJobs]["result"];

/** To the thread. It does one job at a time. */
export type RootRequest =
  { readonly type: "job"; readonly job: RootJob } | { readonly type: "abort" };

/** From the thread. */
export type RootReply =
  | { readonly type: "ready" }
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
