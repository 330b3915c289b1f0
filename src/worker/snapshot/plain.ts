import { mkdir } from "node:fs/promises";
import type { StageRoot } from "../layer-host-types.js";
import type { LayerBlob } from "../types.js";
import { discard, unpack } from "./layer-directories.js";
import { applyRootState, DEFAULT_ROOT } from "./root-state.js";
import { livePlace, ScannedRoot } from "./scanned-root.js";
import type { SnapshotTools } from "./tools.js";

/** A root that is one directory, for where overlay mounts are refused: a scan before and one after give the change set. */
export async function openPlainRoot(
  tools: SnapshotTools,
  layers: readonly LayerBlob[],
  signal: AbortSignal,
): Promise<StageRoot> {
  const directory = tools.stagingPath(".plain");
  const dispose = (): Promise<void> => discard(tools, directory);
  await mkdir(directory);
  try {
    applyRootState(tools.calls, directory, DEFAULT_ROOT);
    const apply = async (layer: LayerBlob, abort: AbortSignal): Promise<void> => {
      await unpack(tools, layer, { directory, form: "plain" }, abort);
    };
    const root = new ScannedRoot(tools, livePlace(tools, { directory }, { apply, dispose }));
    for (const layer of layers) await root.apply(layer, signal);
    await root.mark(signal);
    return root;
  } catch (error) {
    await dispose();
    throw error;
  }
}
