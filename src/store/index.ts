export { writeDockerArchive } from "./docker-archive.js";
export { REF_NAME, writeOciLayout } from "./oci-layout.js";
export { addToOciLayout } from "./oci-layout-add.js";
export { type OutputFile, openOutputFile, writeTextFile } from "./output-files.js";
export { writeOciArchive } from "./output-oci-archive.js";
export type { OutputBlob, OutputBytes, OutputImage, OutputIndex } from "./output-image.js";
export { type OciLayout, openOciLayout } from "./read-oci-layout.js";
export { type Bound, bytesToKeep, defaultBound } from "./bound.js";
export { findProblems, type LayerFacts, type StoreCheck, type StoreProblem } from "./check.js";
export { STORE_KINDS, type StoreKind } from "./contents.js";
export { type Pruned, type PrunePolicy, pruneStore, removeThings } from "./prune.js";
export { removeTree } from "./remove-tree.js";
export { type RootfsOptions, writeRootfs } from "./rootfs-output.js";
export { openStore } from "./store.js";
export type { BlobStore, Store } from "./types.js";
export {
  type Disk,
  diskOf,
  type Estimate,
  estimateBytes,
  type MeasuredThing,
  measureStore,
  type Namespaces,
  totalBytes,
  writeLedger,
} from "./usage.js";
