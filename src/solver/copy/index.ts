export { linksElsewhere, openArchive, type Archive, type ArchiveOptions } from "./archive.js";
export { applyChmod, parseChmod, type Chmod } from "./chmod.js";
export { memoryEntry } from "./entries.js";
export { expandSource } from "./expand.js";
export { destinationOf, type Destination } from "./paths.js";
export { planCopy, planWorkdir } from "./plan-copy.js";
export { selectFiles, type SelectedFile } from "./select.js";
export type { CopyItem, CopyRequest, Owner } from "./types.js";
export { unpackArchives, type UnpackedItems } from "./unpack.js";
