import type { Image } from "../oci/types.js";
import type { Layers } from "./layers.js";
import type { SolveInput } from "./types.js";

/** Leaves the image's files in "/", where that is the root of stages. Elsewhere there is nothing to leave. */
export async function materialize(
  image: Image,
  layers: Layers,
  { worker: start, signal }: Pick<SolveInput, "worker" | "signal">,
): Promise<void> {
  const worker = await start();
  if (worker.host.driver !== "in-place") return;
  const blobs = await Promise.all(image.layers.map((layer) => layers.blob(layer)));
  const view = await worker.prepare(blobs, signal);
  await view[Symbol.asyncDispose]();
}
