import { normalizePlatform } from "../oci/platform.js";
import type { Image, Platform } from "../oci/types.js";
import { createdAt } from "./state.js";
import type { SolveOptions, StageState } from "./types.js";

/** What belongs to the result alone: the labels of the command line, the platform, the time. */
export function finished(state: StageState, options: SolveOptions): Image {
  const { image } = state;
  const { config } = image;
  const labels = { ...config.labels, ...Object.fromEntries(options.labels) };
  const created = createdAt(options) ?? image.history.at(-1)?.created ?? config.created;
  // Windows wants its own separators; here paths have the plain ones.
  const isWindows = state.platform.os === "windows";
  const workingDir = isWindows ? config.workingDir.replaceAll("/", "\\") : config.workingDir;
  return {
    ...image,
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
 * The platform that was asked for, else the image's. Variant and version stay the image's where only the system and the
 * processor were asked for, and these are the image's own.
 */
function resultPlatform(own: Platform, options: SolveOptions): Platform {
  if (!options.platformRequested) return normalizePlatform(own);
  const { targetPlatform: asked } = options;
  const isSame = asked.os === own.os && asked.architecture === own.architecture;
  return normalizePlatform(isSame ? { ...own, ...asked } : asked);
}
