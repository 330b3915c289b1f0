import type { Compression } from "../../src/oci/types.js";
import type { State } from "./snapshot-scenario.js";

/** Layers to be shown unpacked and mounted. */
export interface MountedCase {
  /** Lowest first. */
  readonly layers: readonly {
    readonly path: string;
    /** Of the tar's digest. */
    readonly hex: string;
    readonly compression: Compression;
  }[];
  /** What happens to the kept files before they are asked for again. */
  readonly damage?: "tar" | "image" | "byte";
}

export type MountedView =
  | {
      /** Topmost first, with the overlay's marks. */
      readonly lowers: readonly State[];
      readonly merged: State;
      readonly isMount: readonly boolean[];
      readonly warnings: readonly string[];
      readonly error?: undefined;
    }
  | { readonly error: string };

export interface MountedOutcome {
  readonly unpacked: MountedView;
  /** After the damage, if there is any. */
  readonly mounted: MountedView;
  /** Of each tar that is kept, how many names it has. */
  readonly links: readonly number[];
}

export interface MountedAnswer {
  /** Why nothing can be mounted here. */
  readonly refused?: string;
  readonly outcomes: readonly MountedOutcome[];
  /** In the staging directory, when all was over. */
  readonly left: readonly string[];
  /** Whether anything stayed mounted. */
  readonly isLeft: boolean;
}
