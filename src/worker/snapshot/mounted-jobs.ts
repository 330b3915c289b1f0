import type { LayerBlob } from "../types.js";

/** Reads a layer once: its tar, uncompressed, and its index. */
export interface CopyJob {
  readonly kind: "copy";
  readonly layer: LayerBlob;
  /** A new file; absent: the blob is the tar. */
  readonly tarFile?: string;
  readonly indexFile: string;
}

/** What makes a tar a lower directory: an image of its names and attributes. */
export interface ImageJob {
  readonly kind: "image";
  /** As {@link CopyJob} made it. */
  readonly indexFile: string;
  readonly tarSize: number;
  /** A new file. */
  readonly imageFile: string;
  /** Tells the image from all others. */
  readonly name: string;
  /** Directories that the layer implies, the root aside. */
  readonly paths: readonly string[];
  /** Topmost first. */
  readonly lowers: readonly string[];
}

export interface ImageMade {
  /** Why there is none: the layer has to be unpacked. */
  readonly refused?: string;
  /** What it lacks, one line each. */
  readonly skipped: readonly string[];
}
