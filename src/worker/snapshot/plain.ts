import { mkdir, unlink } from "node:fs/promises";
import { TsbuildError } from "../../errors.js";
import type { StageRoot } from "../layer-host-types.js";
import type { LayerBlob, SealedFiles, SealOptions } from "../types.js";
import { discard, unpack } from "./layer-directories.js";
import { applyRootState, DEFAULT_ROOT } from "./root-state.js";
import { type ScanRecords, transferOf } from "./scan-records.js";
import { sealedFiles, sealTarget, type SnapshotTools } from "./tools.js";
import type { RootMount } from "./types.js";

/** A root that is one directory, for where overlay mounts are refused: a scan before and one after give the change set. */
export async function openPlainRoot(
  tools: SnapshotTools,
  layers: readonly LayerBlob[],
  signal: AbortSignal,
): Promise<StageRoot> {
  const directory = tools.stagingPath(".plain");
  await mkdir(directory);
  try {
    applyRootState(tools.calls, directory, DEFAULT_ROOT);
    const root = new PlainRoot(tools, directory);
    for (const layer of layers) await root.apply(layer, signal);
    await root.mark(signal);
    return root;
  } catch (error) {
    await discard(tools, directory);
    throw error;
  }
}

class PlainRoot implements StageRoot {
  readonly #tools: SnapshotTools;
  readonly #directory: string;
  #before: ScanRecords | undefined;
  #restored: readonly string[] = [];
  #running = false;

  constructor(tools: SnapshotTools, directory: string) {
    this.#tools = tools;
    this.#directory = directory;
  }

  async apply(layer: LayerBlob, signal: AbortSignal): Promise<void> {
    await unpack(this.#tools, layer, { directory: this.#directory, form: "plain" }, signal);
  }

  /** From here on changes count. */
  async mark(signal: AbortSignal): Promise<void> {
    const job = { directory: this.#directory, probe: this.#tools.stagingPath(".clock") };
    this.#before = await this.#tools.threads.run("scan", job, signal);
    await unlink(job.probe);
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
    return { kind: "directory", path: this.#directory };
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
    const job = { directory: this.#directory, probe, before, restored, target };
    const transfer = transferOf(before);
    const sealed = await this.#tools.threads.run("seal-scan", job, signal, { transfer });
    await unlink(probe);
    this.#before = sealed.after;
    this.#restored = [];
    return sealedFiles(sealed.layer, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running = false;
    this.#before = undefined;
    await discard(this.#tools, this.#directory);
  }

  #mustRest(what: string): void {
    if (this.#running) throw new TsbuildError("INTERNAL", `tried to ${what}: a step is running`);
  }
}
