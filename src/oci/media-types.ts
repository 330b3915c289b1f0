import type { Compression, ImageFormat } from "./types.js";

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
export const DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
export const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
/** Docker's foreign layers: never uploaded, fetched from their `urls`. */
export const DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

export const MANIFEST_TYPES: readonly string[] = [
  OCI_INDEX,
  OCI_MANIFEST,
  DOCKER_INDEX,
  DOCKER_MANIFEST,
];

export function isIndex(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_INDEX;
}

export function isManifest(mediaType: string): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

/** Docker has no media type for zstd layers. */
export function layerMediaType(format: ImageFormat, compression: Compression): string {
  if (format === "oci") return compression === "none" ? OCI_LAYER : `${OCI_LAYER}+${compression}`;
  return compression === "none" ? DOCKER_LAYER : `${DOCKER_LAYER}.gzip`;
}

export function layerCompression(mediaType: string): Compression {
  if (/[.+]gzip$/.test(mediaType)) return "gzip";
  if (/[.+]zstd$/.test(mediaType)) return "zstd";
  return "none";
}
