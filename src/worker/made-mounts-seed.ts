import { lstatSync, mkdirSync, renameSync } from "node:fs";
import { TsbuildError } from "../errors.js";
import { createLayerHost } from "./layer-host.js";
import type { LayerHostOptions } from "./layer-host-types.js";
import { removeTreeSync } from "./root-remove.js";
import { resolveInRoot } from "./sandbox/mount-points.js";
import type { LayerBlob } from "./types.js";

export interface SeedTools extends LayerHostOptions {
  /** A name in the staging directory that was never used. */
  stagingPath(suffix: string): string;
  /** What could not be kept of the layers, one line each. */
  addWarnings(lines: readonly string[]): void;
}

/**
 * Makes `fresh` what is at `source` in these layers: they are unpacked by themselves, so that it can be moved there.
 * @throws TsbuildError CONTEXT_UNREADABLE when there is no such directory; what `LayerHost.prepare` throws
 */
export async function fillFromSeed(
  fresh: string,
  { layers, source }: { readonly layers: readonly LayerBlob[]; readonly source: string },
  tools: SeedTools,
  signal: AbortSignal,
): Promise<void> {
  const staging = tools.stagingPath(".seed");
  mkdirSync(staging);
  const driver = tools.driver === "in-place" || tools.driver === "proot" ? tools.driver : "plain";
  const host = createLayerHost({ ...tools, staging, driver });
  try {
    const root = await host.prepareSource(layers, signal);
    try {
      tools.addWarnings(await host.takeWarnings());
      const mount = root.begin();
      if (mount.kind !== "directory") throw new TsbuildError("INTERNAL", "a seed is no directory");
      moveOut(mount.path, source, fresh);
    } finally {
      await root[Symbol.asyncDispose]();
    }
  } finally {
    await host[Symbol.asyncDispose]();
    removeTreeSync(staging);
  }
}

/** Nobody else knows of the root: what a path in it leads to stays so. */
function moveOut(root: string, source: string, fresh: string): void {
  const { path, exists } = resolveInRoot(root, source);
  const at = path === "" ? root : `${root}/${path}`;
  if (!exists || !lstatSync(at).isDirectory()) {
    const because = exists ? "not a directory" : "not found";
    throw new TsbuildError("CONTEXT_UNREADABLE", `tried to fill a cache: "/${path}": ${because}`);
  }
  renameSync(at, fresh);
}
