import { packLayer } from "../layer/index.js";
import type { Change, SealedLayer } from "../layer/types.js";
import type { SealOptions } from "../worker/types.js";
import type { SolveInput } from "./types.js";

/** Makes a layer of changes and puts it and its index into the store. */
export async function packSealed(
  changes: Iterable<Change>,
  options: SealOptions,
  { store, signal }: Pick<SolveInput, "store" | "signal">,
): Promise<SealedLayer> {
  const blobPath = store.stagingPath(".blob");
  const indexPath = store.stagingPath(".index");
  const files = { blobPath, indexPath };
  const layer = await packLayer(changes, { ...options, ...files, hashing: store.hashing, signal });
  await store.adoptBlob(blobPath, layer.descriptor.digest);
  await store.adoptIndex(indexPath, layer.diffId);
  return layer;
}
