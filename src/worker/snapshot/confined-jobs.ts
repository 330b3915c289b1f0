import type { UnpackResult } from "../../layer/types.js";
import type { LayerBlob } from "../types.js";
import type { Intents, Owner } from "./intents.js";
import type { ScanRecords } from "./scan-records.js";
import type { RootPlace, SealedScan, SealScanJob } from "../root-jobs.js";

/** A layer's tar onto a directory that cannot be entered. */
export interface ConfinedUnpackJob {
  readonly kind: "confined-unpack";
  readonly directory: string;
  readonly layer: LayerBlob;
  readonly indexFile: string;
  readonly idMap: string;
  readonly intents: Intents;
}
export interface ConfinedUnpacked extends UnpackResult {
  readonly skipped: readonly string[];
  readonly intents: Intents;
}

/** Everything below such a root, for a later comparison. */
export interface ConfinedScanJob {
  readonly kind: "confined-scan";
  readonly directory: string;
  readonly probe: string;
  readonly intents: Intents;
}
export interface ConfinedScan {
  readonly records: ScanRecords;
  readonly intents: Intents;
}

/** {@link SealScanJob} of such a root. */
export interface ConfinedSealJob extends Required<Omit<SealScanJob, "kind" | keyof RootPlace>> {
  readonly kind: "confined-seal";
  readonly directory: string;
  readonly intents: Intents;
  /** Those of the files that were there before. */
  readonly known: Intents;
  /** Whose what steps have made is. */
  readonly maker: Owner;
}
export interface SealedConfined extends SealedScan {
  readonly intents: Intents;
}
