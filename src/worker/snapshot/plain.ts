import { mkdir } from "node:fs/promises";
import type { StageRoot } from "../layer-host-types.js";
import type { LayerBlob } from "../types.js";
import { discard, unpack } from "./layer-directories.js";
import { applyRootState, DEFAULT_ROOT } from "./root-state.js";
import { ScannedRoot } from "./scanned-root.js";
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
    const root = new ScannedRoot(tools, {
      at: { directory },
      apply: async (layer, abort) => {
        await unpack(tools, layer, { directory, form: "plain" }, abort);
      },
      dispose,
    });
    for (const layer of layers) await root.apply(layer, signal);
    await root.mark(signal);
    return root;
  } catch (error) {
    await dispose();
    throw error;
  }
}
