import { availableParallelism } from "node:os";
import type { FileSource } from "../context/types.js";
import { TsbuildError } from "../errors.js";
import { createSemaphore } from "../internal/semaphore.js";
import { scratchImage } from "../oci/image.js";
import { formatPlatform } from "../oci/platform.js";
import type { Image, Platform } from "../oci/types.js";
import { imageOfFiles } from "./file-images.js";
import { fromImage } from "./from-image.js";
import { Layers } from "./layers.js";
import { remember } from "./remember.js";
import type { SharedServices } from "./services.js";
import type { SolveInput } from "./types.js";

/** @param inputs those of all platforms, which differ in their plan and their platform alone */
export function openSharedServices(inputs: readonly SolveInput[]): SharedServices {
  const [input] = inputs;
  if (input === undefined) throw new TsbuildError("INTERNAL", "there is no platform to build for");
  const images = new Map<string, Promise<Image>>();
  const layouts = new Map<string, Promise<Image>>();
  const files = new Map<string, Promise<Image>>();
  const image = (name: string, platform: Platform): Promise<Image> =>
    remember(images, `${formatPlatform(platform)} ${name}`, () => pull(name, platform, input));
  const filesImage = (name: string | undefined, path: string): Promise<Image> =>
    remember(files, JSON.stringify([name, path]), async () =>
      imageOfFiles(await openContext(name, input), path, input),
    );
  return {
    layers: new Layers(input),
    steps: createSemaphore(Math.max(2, availableParallelism())),
    image,
    filesImage,
    contextImage: async (name, platform) => {
      const context = input.contexts.get(name);
      if (context?.kind === "image") return image(context.reference, platform);
      if (context?.kind === "layout") {
        const key = JSON.stringify([formatPlatform(platform), name]);
        return remember(layouts, key, () => context.load(platform));
      }
      // Files are of no platform, so they are those of each.
      const made = await filesImage(name, "");
      return { ...made, config: { ...made.config, platform } };
    },
  };
}

function openContext(name: string | undefined, input: SolveInput): Promise<FileSource> {
  if (name === undefined) return input.context();
  const context = input.contexts.get(name);
  if (context?.kind === "files") return context.open();
  throw new TsbuildError("INTERNAL", `there is no named context "${name}"`);
}

async function pull(name: string, platform: Platform, input: SolveInput): Promise<Image> {
  if (name === "scratch") return scratchImage(platform);
  return fromImage(name, platform, input);
}
