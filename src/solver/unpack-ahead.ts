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
 * below it are there.
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
    const lastAbsent = (await absent(wanted, input)).lastIndexOf(true);
    const pulled = wanted.map((layer) => input.layers.blob(layer));
    // With the last one that comes the root can be made.
    const lower = pulled.slice(0, Math.max(0, lastAbsent));
    const signal = AbortSignal.any([input.signal, stop.signal]);
    void unpackAsTheyCome(lower, worker, unpacking, signal);
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
 * @param unpacking gets what is under way
 */
async function unpackAsTheyCome(
  pulled: readonly Promise<LayerBlob>[],
  worker: Promise<Worker>,
  unpacking: Promise<unknown>[],
  signal: AbortSignal,
): Promise<void> {
  const ready: LayerBlob[] = [];
  try {
    for (const blob of pulled) {
      ready.push(await blob);
      const started = await worker;
      if (signal.aborted) return;
      const unpacked = started.unpackAhead?.([...ready], signal);
      if (unpacked !== undefined) unpacking.push(unpacked.catch(() => undefined));
    }
  } catch {
    // The pull's own failure, or the worker's.
  }
}
