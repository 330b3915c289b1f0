import type { Semaphore } from "../internal/semaphore.js";
import type { Image, Platform } from "../oci/types.js";
import type { Layers } from "./layers.js";
import type { SolveInput, StageState } from "./types.js";

/** What stages share. */
export interface StageServices {
  readonly input: SolveInput;
  readonly layers: Layers;
  readonly exported: ReadonlySet<number>;
  /** How many steps run at once. */
  readonly steps: Semaphore;
  stage(index: number): Promise<StageState>;
  image(name: string, platform: Platform): Promise<Image>;
  /** A named context as an image: its files, or the image that it names. */
  contextImage(name: string, platform: Platform): Promise<Image>;
  /** Files of the named context (`undefined`: the main one) at `path`, as an image that can be mounted. */
  filesImage(context: string | undefined, path: string): Promise<Image>;
}
