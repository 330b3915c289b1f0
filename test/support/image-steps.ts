import type { History, Image, ImageConfig, Layer } from "../../src/oci/types.js";

/** The image with one more layer on top. */
export function withLayer(image: Image, layer: Layer, history: Omit<History, "emptyLayer">): Image {
  const entry = { ...history, emptyLayer: false };
  return { ...image, layers: [...image.layers, layer], history: [...image.history, entry] };
}

/** The image with fields of its config replaced, and with a history entry where one is given. */
export function withConfig(
  image: Image,
  patch: Partial<ImageConfig>,
  history?: Omit<History, "emptyLayer">,
): Image {
  const entry = history && { ...history, emptyLayer: true };
  return {
    ...image,
    config: { ...image.config, ...patch },
    history: entry === undefined ? image.history : [...image.history, entry],
  };
}
