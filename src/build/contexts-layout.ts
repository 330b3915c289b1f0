import { messageOf, TsbuildError } from "../errors.js";
import { parseConfig } from "../oci/config.js";
import { imageOf } from "../oci/image.js";
import { parseManifest } from "../oci/manifest.js";
import type { Image, Platform } from "../oci/types.js";
import { openOciLayout } from "../store/index.js";

export interface LayoutReference {
  readonly path: string;
  /** A tag, or `sha256:…`; absent: the only image there is. */
  readonly reference?: string;
}

/** `PATH[:tag|@digest]`. */
export function parseLayoutReference(text: string): LayoutReference {
  const [, beforeDigest, digest] = /^(.+)@(sha256:[0-9a-f]{64})$/s.exec(text) ?? [];
  if (beforeDigest !== undefined && digest !== undefined) {
    // A tag beside a digest says nothing more.
    return { path: parseLayoutReference(beforeDigest).path, reference: digest };
  }
  const [, path, tag] = /^(.+):([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$/s.exec(text) ?? [];
  return path === undefined || tag === undefined ? { path: text } : { path, reference: tag };
}

/**
 * An image of an OCI layout; its layers stay where they are until they are needed.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function loadLayoutImage(
  { path, reference }: LayoutReference,
  platform: Platform,
  signal: AbortSignal,
): Promise<Image> {
  const layout = await openOciLayout(path, signal);
  const { descriptor, bytes } = await layout.resolve(reference, platform, signal);
  try {
    const manifest = parseManifest(bytes, descriptor.mediaType);
    const config = parseConfig(await layout.read(manifest.config, signal));
    const image = imageOf(manifest, config);
    return {
      ...image,
      layers: image.layers.map((layer) => ({
        ...layer,
        open: (opening) => layout.open(layer.descriptor, opening),
      })),
    };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TsbuildError && error.code === "CONTEXT_UNREADABLE") throw error;
    throw new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to read the OCI layout at ${path}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}
