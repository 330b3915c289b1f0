export type {
  Change,
  FileEntry,
  FileReader,
  FileType,
  FileWriter,
  PackOptions,
  RootFs,
  SealedLayer,
  Tree,
  UnpackResult,
} from "./types.js";
export { followFd } from "./fd.js";
export { packLayer, prepareCompression } from "./pack-layer.js";
export { type RepackOptions, repackLayer } from "./repack-layer.js";
export {
  type IndexOptions,
  type LayerSource,
  type UnpackOptions,
  indexLayer,
  unpackLayer,
} from "./unpack-layer.js";
export { isZero } from "./apply-layer.js";
export { type WhiteoutMode } from "./whiteouts.js";
export { type IndexPages, openIndexPages, type PageBudget } from "./index-pages.js";
export { type LayerIndex, openIndex, openIndexFile } from "./layer-index.js";
export { type ImageForm } from "./erofs/nodes.js";
export { type ImageOptions, type ImageResult, writeImage } from "./erofs/write-image.js";
export { isWholeImage } from "./erofs/check-image.js";
export { type ReadContent, mergedTree } from "./merged-tree.js";
export { type DecompressOptions, decompress } from "./compression/decompress.js";
export { type ArchiveCompression, SNIFF_LENGTH, sniffCompression } from "./compression/sniff.js";
export { TarReader, type TarEntry, type TarHandler, type TarReaderOptions } from "./tar/reader.js";
export { TRAILER, type TarHeader, bodyPadding, tarHeader } from "./tar/writer.js";
export { PathTree } from "./path-tree.js";
export { cleanPath } from "./entry-path.js";
export { compareNames, decodeName, encodeName } from "./path-bytes.js";
