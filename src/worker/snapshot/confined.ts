import { mkdir, rm } from "node:fs/promises";
import type { StageRoot } from "../layer-host-types.js";
import type { SealedScan } from "../root-jobs.js";
import type { LayerBlob } from "../types.js";
import { type Intents, type Owner, rememberGiven, ROOT_OWNER } from "./intents.js";
import { discard } from "./layer-directories.js";
import { DEFAULT_ROOT } from "./root-state.js";
import { type ScanRecords, transferOf } from "./scan-records.js";
import { type ScannedPlace, ScannedRoot, type ScannedSeal } from "./scanned-root.js";
import type { SnapshotTools } from "./tools.js";
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
    const root = new ScannedRoot(tools, new ConfinedPlace(tools, directory));
    for (const layer of layers) await root.apply(layer, signal);
    await root.mark(signal);
    return root;
  } catch (error) {
    await discard(tools, directory);
    throw error;
  }
}

class ConfinedPlace implements ScannedPlace {
  readonly #tools: SnapshotTools;
  readonly #directory: string;
  #intents: Intents = new Map();
  /** As they were before the steps since then. */
  #sealed: Intents = new Map();
  #maker: Owner = ROOT_OWNER;

  constructor(tools: SnapshotTools, directory: string) {
    this.#tools = tools;
    this.#directory = directory;
  }

  mount(): RootMount {
    const tellOwners: NonNullable<Extract<RootMount, { kind: "directory" }>["tellOwners"]> = (
      maker,
      given,
    ) => {
      this.#maker = maker;
      rememberGiven(this.#intents, given, maker);
    };
    return { kind: "directory", path: this.#directory, intents: this.#intents, tellOwners };
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

  async scan(probe: string, signal: AbortSignal): Promise<ScanRecords> {
    const job = { directory: this.#directory, probe, intents: this.#intents };
    const { records, intents } = await this.#tools.threads.run("confined-scan", job, signal);
    this.#remember(intents);
    return records;
  }

  async seal(what: ScannedSeal, signal: AbortSignal): Promise<SealedScan> {
    const place = { directory: this.#directory, intents: this.#intents };
    const job = { ...what, ...place, known: this.#sealed, maker: this.#maker };
    const transfer = transferOf(what.before);
    const sealed = await this.#tools.threads.run("confined-seal", job, signal, { transfer });
    this.#remember(sealed.intents);
    this.#maker = ROOT_OWNER;
    return sealed;
  }

  async dispose(): Promise<void> {
    await discard(this.#tools, this.#directory);
  }

  #remember(intents: Intents): void {
    this.#intents = intents;
    this.#sealed = new Map(intents);
  }
}
