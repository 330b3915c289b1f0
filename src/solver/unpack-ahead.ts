import type { Layer } from "../oci/types.js";
import type { Store } from "../store/types.js";
import type { LayerBlob, Worker } from "../worker/types.js";
import type { Layers } from "./layers.js";

export interface AheadInput {
  readonly store: Store;
  readonly layers: Layers;
  readonly worker: () => Promise<Worker>;
  readonly signal: AbortSignal;
}

/**
 * The blobs of layers, lowest first. While they are pulled the worker starts, and unpacks each as soon as it and those
 * below it are there; one of them already while it comes.
 */
export async function blobsUnpackedAhead(
  wanted: readonly Layer[],
  input: AheadInput,
): Promise<readonly LayerBlob[]> {
  const worker = input.worker();
  // Whoever needs it hears of it.
  worker.catch(() => undefined);
  const stop = new AbortController();
  const unpacking: Promise<unknown>[] = [];
  try {
    const { layers } = input;
    const isAbsent = await absent(wanted, input);
    const coming = wanted.map((layer, at) =>
      isAbsent[at] ? layers.coming(layer) : layers.blob(layer),
    );
    const pulled = wanted.map((layer) => layers.blob(layer));
    // Each fails with the blob that it is of.
    for (const blob of coming) blob.catch(() => undefined);
    const upToLast = coming.slice(0, isAbsent.lastIndexOf(true) + 1);
    const signal = AbortSignal.any([input.signal, stop.signal]);
    void unpackAsTheyCome(upToLast, worker, unpacking, signal);
    return await Promise.all(pulled);
  } catch (error) {
    stop.abort(error);
    // One that is still starting would be left behind: who closes what the build has opened knows it only then.
    await Promise.allSettled([worker, ...unpacking]);
    throw error;
  }
}

/** Which of them have to be pulled. */
function absent(wanted: readonly Layer[], { store }: AheadInput): Promise<readonly boolean[]> {
  return Promise.all(
    wanted.map(async ({ descriptor }) => (await store.stat(descriptor.digest)) === undefined),
  );
}

/**
 * Never fails: a layer that could not be unpacked is unpacked again for the root, which then says why not.
 * @param coming up to the last one that is absent: when that is whole the root itself can be made
 * @param unpacking gets what is under way
 */
async function unpackAsTheyCome(
  coming: readonly Promise<LayerBlob>[],
  worker: Promise<Worker>,
  unpacking: Promise<unknown>[],
  signal: AbortSignal,
): Promise<void> {
  const ready: LayerBlob[] = [];
  try {
    for (const [at, blob] of coming.entries()) {
      const found = await blob;
      if (at === coming.length - 1 && found.coming === undefined) return;
      ready.push(found);
      const started = await worker;
      if (signal.aborted) return;
      const unpacked = started.unpackAhead?.([...ready], signal);
      if (unpacked !== undefined) unpacking.push(unpacked.catch(() => undefined));
    }
  } catch {
    // The pull's own failure, or the worker's.
  }
}
