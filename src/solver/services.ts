import type { Semaphore } from "../internal/semaphore.js";
import type { Image, Platform } from "../oci/types.js";
import type { StepCache } from "./cache/step-cache.js";
import type { Chain, StageBase } from "./cache/types.js";
import type { Layers } from "./layers.js";
import type { StepKey } from "./step-keys.js";
import type { SolveInput, StageState } from "./types.js";
import type { ViewTurns } from "./view-turns.js";

/** What stages share, those of all platforms. */
export interface SharedServices {
  readonly layers: Layers;
  /** How many steps run at once. */
  readonly steps: Semaphore;
  image(name: string, platform: Platform): Promise<Image>;
  /** A named context as an image: its files, or the image that it names. */
  contextImage(name: string, platform: Platform): Promise<Image>;
  /** Files of the named context (`undefined`: the main one) at `path`, as an image that can be mounted. */
  filesImage(context: string | undefined, path: string): Promise<Image>;
}

/** What the stages of one platform share. */
export interface StageServices extends SharedServices {
  readonly input: SolveInput;
}

/** What running stages share, beyond those that are looked through in a dry run. */
export interface RunServices extends StageServices {
  /** The stages that are needed: not those whose files only cached steps read. */
  readonly needed: readonly number[];
  /** Absent: nothing is looked up. */
  readonly cache: StepCache | undefined;
  /** Where a stage ends, when that is known without building it. */
  chainAhead(index: number): Chain | undefined;
  /** What a stage begins with, unless it is another stage. */
  base(index: number): StageBase | undefined;
  /** Those of all platforms. */
  readonly turns: ViewTurns;
  stage(index: number): Promise<StageState>;
  label(index: number): StageLabel;
  /** Of FROM, of the base's triggers and of the instructions, in this order. */
  keys(index: number): readonly StepKey[];
  /** Whether the step's layer leaves this machine. */
  isExported(key: StepKey): boolean;
  /** The step of this key, done once. */
  once(key: StepKey, make: () => Promise<StepResult>): Once;
}

/** What a step gives. */
export interface StepResult {
  readonly state: StageState;
  /** An earlier build made the layer. */
  readonly isCached: boolean;
}

export interface Once {
  readonly result: Promise<StepResult>;
  /** Another stage does it. */
  readonly isShared: boolean;
}

/** A stage in events. */
export interface StageLabel {
  /** From 1; of no other stage, of whichever platform. */
  readonly number: number;
  /** With the platforms that it is for, when not for all. */
  readonly name: string;
}
