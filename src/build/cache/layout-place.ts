import { stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../../errors.js";
import { addToOciLayout, openOciLayout, REF_NAME, type OciLayout } from "../../store/index.js";
import { layerOpener, type PushInput } from "../export-input.js";
import type { CachePlace } from "./place.js";

/** Pages in an OCI layout, which is made when there is something to put into it. */
export function layoutPlace(path: string, input: Omit<PushInput, "emit">): CachePlace {
  let opened: Promise<OciLayout | undefined> | undefined;
  const open = (signal: AbortSignal): Promise<OciLayout | undefined> => {
    opened ??= openExisting(path, signal);
    return opened;
  };
  return {
    name: path,
    async manifest(name, signal) {
      const layout = await open(signal);
      const found = layout?.manifests.find(({ annotations, digest }) =>
        "tag" in name ? annotations?.[REF_NAME] === name.tag : digest === name.digest,
      );
      return found && layout?.read(found, signal);
    },
    async read(blob, signal) {
      return (await openOciLayout(path, signal)).read(blob, signal);
    },
    locate: (layer) => ({
      open: async function* (signal) {
        const layout = await openOciLayout(path, signal);
        yield* layout.open(layer, signal);
      },
    }),
    // Its files show what is wrong with them when they are read.
    has: () => Promise.resolve(true),
    put(tag, { config, manifest, layers }, signal) {
      const blobs = layers.map((layer) => {
        const from = layerOpener(layer, { ...input, signal });
        return { descriptor: layer.descriptor, open: from };
      });
      return addToOciLayout(path, tag, { config, manifest, layers: blobs }, signal);
    },
  };
}

async function openExisting(path: string, signal: AbortSignal): Promise<OciLayout | undefined> {
  try {
    await stat(join(path, "index.json"));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  return openOciLayout(path, signal);
}
