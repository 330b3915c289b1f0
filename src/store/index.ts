export { writeDockerArchive } from "./docker-archive.js";
export { writeOciLayout } from "./oci-layout.js";
export { type OutputFile, openOutputFile, writeTextFile } from "./output-files.js";
export type { OutputBlob, OutputBytes, OutputImage, OutputIndex } from "./output-image.js";
export { type OciLayout, openOciLayout } from "./read-oci-layout.js";
export { removeTree } from "./remove-tree.js";
export { openStore } from "./store.js";
export type { BlobStore, Store } from "./types.js";
