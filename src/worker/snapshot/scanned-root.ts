import { unlink } from "node:fs/promises";
import { TsbuildError } from "../../errors.js";
import type { StageRoot } from "../layer-host-types.js";
import type { RootPlace, SealedScan, SealScanJob } from "../root-jobs.js";
import type { LayerBlob, SealedFiles, SealOptions } from "../types.js";
import { type ScanRecords, transferOf } from "./scan-records.js";
import { sealedFiles, sealTarget, type SnapshotTools } from "./tools.js";
import type { RootMount } from "./types.js";

/** What a seal takes besides the place itself. */
export type ScannedSeal = Required<Omit<SealScanJob, "kind" | keyof RootPlace>>;

/** The directory that a root is, and how it is worked on. */
export interface ScannedPlace {
  mount(): RootMount;
  /** Unpacks a layer over it. */
  apply(layer: LayerBlob, signal: AbortSignal): Promise<void>;
  /** `probe`: a new file outside of it, on the same filesystem. */
  scan(probe: string, signal: AbortSignal): Promise<ScanRecords>;
  /** Takes the records of `before` away. */
  seal(what: ScannedSeal, signal: AbortSignal): Promise<SealedScan>;
  dispose(): Promise<void>;
}

/** A place that is what it is on the disk: scanned and sealed as it stands. */
export function livePlace(
  { threads }: SnapshotTools,
  at: RootPlace,
  { apply, dispose }: Pick<ScannedPlace, "apply" | "dispose">,
): ScannedPlace {
  return {
    mount: () => ({ kind: "directory", path: at.directory }),
    apply,
    scan: (probe, signal) => threads.run("scan", { ...at, probe }, signal),
    seal: (what, signal) => {
      const transfer = transferOf(what.before);
      return threads.run("seal-scan", { ...at, ...what }, signal, {
        transfer,
        hashBeside: "when much",
      });
    },
    dispose,
  };
}

/** A root that is one directory: what changed is what is not as it was in a scan before. */
export class ScannedRoot implements StageRoot {
  readonly #tools: SnapshotTools;
  readonly #place: ScannedPlace;
  #before: ScanRecords | undefined;
  #restored: readonly string[] = [];
  #running = false;

  constructor(tools: SnapshotTools, place: ScannedPlace) {
    this.#tools = tools;
    this.#place = place;
  }

  async apply(layer: LayerBlob, signal: AbortSignal): Promise<void> {
    await this.#place.apply(layer, signal);
  }

  /** From here on changes count. */
  async mark(signal: AbortSignal): Promise<void> {
    const probe = this.#tools.stagingPath(".clock");
    this.#before = await this.#place.scan(probe, signal);
    await unlink(probe);
    this.#restored = [];
  }

  async add(layer: LayerBlob, signal: AbortSignal): Promise<void> {
    this.#mustRest("add a layer");
    await this.apply(layer, signal);
    await this.mark(signal);
  }

  begin(): RootMount {
    this.#mustRest("begin a step");
    this.#running = true;
    return this.#place.mount();
  }

  end(restored: readonly string[] = []): void {
    this.#running = false;
    this.#restored = [...this.#restored, ...restored];
  }

  async seal(options: SealOptions, signal: AbortSignal): Promise<SealedFiles> {
    this.#mustRest("seal a layer");
    const before = this.#before;
    if (before === undefined) throw new TsbuildError("INTERNAL", "tried to seal a layer: no scan");
    // The records move to the thread: a failed seal leaves the root without any, and a failed build needs none.
    this.#before = undefined;
    const target = sealTarget(this.#tools, options);
    const probe = this.#tools.stagingPath(".clock");
    const restored = this.#restored;
    const sealed = await this.#place.seal({ probe, before, restored, target }, signal);
    await unlink(probe);
    this.#before = sealed.after;
    this.#restored = [];
    return sealedFiles(sealed.layer, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running = false;
    this.#before = undefined;
    await this.#place.dispose();
  }

  #mustRest(what: string): void {
    if (this.#running) throw new TsbuildError("INTERNAL", `tried to ${what}: a step is running`);
  }
}
