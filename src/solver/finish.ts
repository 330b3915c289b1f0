import { normalizePlatform } from "../oci/platform.js";
import type { History, Image, Platform } from "../oci/types.js";
import { createdAt } from "./state.js";
import type { SolveOptions, StageState } from "./types.js";

/** What belongs to the result alone: the labels of the command line, the platform, the time. */
export function finished(state: StageState, options: SolveOptions): Image {
  const { image } = state;
  const { config } = image;
  const labels = { ...config.labels, ...Object.fromEntries(options.labels) };
  const history = dated(image.history, createdAt(options));
  const created = createdAt(options) ?? history.at(-1)?.created ?? config.created;
  // Windows wants its own separators; here paths have the plain ones.
  const isWindows = state.platform.os === "windows";
  const workingDir = isWindows ? config.workingDir.replaceAll("/", "\\") : config.workingDir;
  return {
    ...image,
    history,
    format: options.imageFormat ?? image.format,
    config: {
      ...config,
      labels,
      workingDir,
      ...(created === undefined ? {} : { created }),
      platform: resultPlatform(config.platform, options),
    },
  };
}

/**
 * Steps that made no layer have the time of the layer before them, and those before the first new layer have its time: so a
 * build whose layers all come from the cache gives the same image again, as with BuildKit.
 */
function dated(history: readonly History[], epoch: string | undefined): readonly History[] {
  const isOpen = ({ created }: History): boolean => created === undefined;
  const first = history.findIndex(isOpen);
  if (first < 0) return history;
  const next = history.slice(first).find((entry) => !isOpen(entry))?.created;
  const before = history.slice(0, first).at(-1)?.created;
  // Of an image without any layer nothing is known but that it is made now.
  let time = epoch ?? next ?? before ?? new Date().toISOString();
  return history.map((entry, at) => {
    if (isOpen(entry)) return { ...entry, created: time };
    if (at > first) time = epoch ?? entry.created ?? time;
    return entry;
  });
}

/**
 * The platform that was asked for, else the image's. Variant and version stay the image's where only the system and the
 * processor were asked for, and these are the image's own.
 */
function resultPlatform(own: Platform, options: SolveOptions): Platform {
  if (!options.platformRequested) return normalizePlatform(own);
  const { targetPlatform: asked } = options;
  const isSame = asked.os === own.os && asked.architecture === own.architecture;
  return normalizePlatform(isSame ? { ...own, ...asked } : asked);
}
