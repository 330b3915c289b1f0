import type { Image } from "../oci/types.js";
import type { Store } from "../store/types.js";
import type { ProcessOutput } from "../worker/sandbox/types.js";
import type { SealOptions, StepSpec, View, Worker } from "../worker/types.js";
import type { Layers } from "./layers.js";
import { OutputTail } from "./output-tail.js";
import type { Emit, FinishedStep } from "./types.js";
import { blobsUnpackedAhead } from "./unpack-ahead.js";
import { isSettled, type ViewTurns } from "./view-turns.js";

export interface StageViewInput {
  readonly store: Store;
  readonly layers: Layers;
  readonly worker: () => Promise<Worker>;
  readonly turns: ViewTurns;
  /** Settles when every stage that this one needs is sealed. */
  readonly sources: () => Promise<void>;
  readonly signal: AbortSignal;
  readonly emit: Emit;
}

/** A stage's root filesystem: opened by its first step that needs one, and brought up to the stage's layers at each. */
export class StageView implements AsyncDisposable {
  readonly #input: StageViewInput;
  #view: View | undefined;
  /** Where views are few: the right to have one. */
  #turn: Disposable | undefined;
  /** How many of the stage's layers the view holds. */
  #held = 0;

  constructor(input: StageViewInput) {
    this.#input = input;
  }

  /** A view with all the image's layers. Unpacking leaves their indexes in the store. */
  async open(image: Image): Promise<View> {
    const { layers, signal } = this.#input;
    const missing = image.layers.slice(this.#held);
    if (this.#view === undefined) {
      const blobs = await blobsUnpackedAhead(missing, this.#input);
      const worker = await this.#input.worker();
      const { turns, sources } = this.#input;
      this.#turn ??= await turns.take(worker, signal, sources);
      this.#view = await layers.reading(missing, () => worker.prepare(blobs, signal));
      await layers.adoptIndexes(worker);
      await this.#tell(worker);
    } else {
      const view = this.#view;
      const blobs = await Promise.all(missing.map((layer) => layers.blob(layer)));
      await layers.reading(missing, async () => {
        for (const blob of blobs) await view.add(blob, signal);
      });
    }
    this.#held = image.layers.length;
    return this.#view;
  }

  /** Waits for what another stage does, without keeping it from having a root meanwhile. */
  async waitFor<T>(promise: Promise<T>): Promise<T> {
    if (this.#turn !== undefined && !(await isSettled(promise))) await this.#close();
    return promise;
  }

  async #tell(worker: Worker): Promise<void> {
    for (const message of (await worker.takeWarnings?.()) ?? []) {
      this.#input.emit({ type: "notice", message });
    }
  }

  async run(
    image: Image,
    spec: StepSpec,
    seal: SealOptions,
    output: (output: ProcessOutput) => void,
  ): Promise<FinishedStep> {
    const { signal, store } = this.#input;
    const view = await this.open(image);
    const tail = new OutputTail();
    const on = (part: ProcessOutput): void => {
      tail.add(part.chunk);
      output(part);
    };
    const status = await view.run(spec, { output: on }, signal);
    await this.#tell(await this.#input.worker());
    return {
      status,
      tail: tail.text(),
      seal: async () => {
        const { layer, blobFile, indexFile } = await view.seal(seal, signal);
        await store.adoptBlob(blobFile, layer.descriptor.digest);
        await store.adoptIndex(indexFile, layer.diffId);
        this.#held += 1;
        return layer;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  async #close(): Promise<void> {
    const view = this.#view;
    this.#view = undefined;
    this.#held = 0;
    try {
      await view?.[Symbol.asyncDispose]();
    } finally {
      this.#turn?.[Symbol.dispose]();
      this.#turn = undefined;
    }
  }
}
