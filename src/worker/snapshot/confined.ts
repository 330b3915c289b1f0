import { mkdir, rm, unlink } from "node:fs/promises";
import { TsbuildError } from "../../errors.js";
import type { StageRoot } from "../layer-host-types.js";
import type { LayerBlob, SealedFiles, SealOptions } from "../types.js";
import { type Intents, type Owner, rememberGiven, ROOT_OWNER } from "./intents.js";
import { discard } from "./layer-directories.js";
import { DEFAULT_ROOT } from "./root-state.js";
import { type ScanRecords, transferOf } from "./scan-records.js";
import { sealedFiles, sealTarget, type SnapshotTools } from "./tools.js";
import type { RootMount } from "./types.js";

/**
 * A root that is one directory of an ordinary user, to whom everything in it belongs: what its entries are in the image
 * besides is kept beside it.
 */
export async function openConfinedRoot(
  tools: SnapshotTools,
  layers: readonly LayerBlob[],
  signal: AbortSignal,
): Promise<StageRoot> {
  const directory = tools.stagingPath(".confined");
  await mkdir(directory, { mode: DEFAULT_ROOT.mode });
  try {
    tools.calls.utimes(directory, DEFAULT_ROOT.mtimeNs);
    const root = new ConfinedRoot(tools, directory);
    for (const layer of layers) await root.apply(layer, signal);
    await root.mark(signal);
    return root;
  } catch (error) {
    await discard(tools, directory);
    throw error;
  }
}

class ConfinedRoot implements StageRoot {
  readonly #tools: SnapshotTools;
  readonly #directory: string;
  #intents: Intents = new Map();
  /** As they were before the steps since then. */
  #sealed: Intents = new Map();
  #before: ScanRecords | undefined;
  #restored: readonly string[] = [];
  #running = false;
  #maker: Owner = ROOT_OWNER;

  constructor(tools: SnapshotTools, directory: string) {
    this.#tools = tools;
    this.#directory = directory;
  }

  async apply(layer: LayerBlob, signal: AbortSignal): Promise<void> {
    const { threads, indexes, warnings, options } = this.#tools;
    const indexFile = this.#tools.stagingPath(".index");
    const place = { directory: this.#directory, intents: this.#intents };
    const job = { ...place, layer, indexFile, idMap: options.idMap };
    let taken = false;
    try {
      const unpacked = await threads.run("confined-unpack", job, signal);
      this.#intents = unpacked.intents;
      taken = indexes.add(layer.diffId, indexFile);
      warnings.add(unpacked.skipped);
    } finally {
      if (!taken) await rm(indexFile, { force: true }).catch(() => undefined);
    }
  }

  /** From here on changes count. */
  async mark(signal: AbortSignal): Promise<void> {
    const probe = this.#tools.stagingPath(".clock");
    const job = { directory: this.#directory, probe, intents: this.#intents };
    const { records, intents } = await this.#tools.threads.run("confined-scan", job, signal);
    await unlink(probe);
    this.#before = records;
    this.#intents = intents;
    this.#sealed = new Map(intents);
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
    const tellOwners: NonNullable<Extract<RootMount, { kind: "directory" }>["tellOwners"]> = (
      maker,
      given,
    ) => {
      this.#maker = maker;
      rememberGiven(this.#intents, given, maker);
    };
    return { kind: "directory", path: this.#directory, intents: this.#intents, tellOwners };
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
    const place = { directory: this.#directory, probe, intents: this.#intents };
    const owners = { known: this.#sealed, maker: this.#maker };
    const job = { ...place, ...owners, before, restored: this.#restored, target };
    const transfer = transferOf(before);
    const sealed = await this.#tools.threads.run("confined-seal", job, signal, { transfer });
    await unlink(probe);
    this.#before = sealed.after;
    this.#intents = sealed.intents;
    this.#sealed = new Map(sealed.intents);
    this.#restored = [];
    this.#maker = ROOT_OWNER;
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
