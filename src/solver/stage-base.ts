import { lintBasePlatform, lintTriggers, parseTrigger } from "../dockerfile/index.js";
import type { Diagnostic, PlannedStage } from "../dockerfile/types.js";
import { unreachable } from "../errors.js";
import { scratchImage } from "../oci/image.js";
import { normalizePlatform } from "../oci/platform.js";
import type { Image, Platform } from "../oci/types.js";
import { initialState } from "./state.js";
import type { SolveInput, StageInstruction, StageState } from "./types.js";

export interface BaseInput {
  readonly input: SolveInput;
  /** A stage's state at its end. */
  readonly stage: (index: number) => Promise<StageState>;
  readonly image: (name: string, platform: Platform) => Promise<Image>;
  /** What a named context is as a base. */
  readonly contextImage: (name: string, platform: Platform) => Promise<Image>;
  readonly warn: (diagnostics: readonly Diagnostic[]) => void;
}

/** Where a stage starts: its state, and what its base left to be done first. */
export interface StartedStage {
  readonly state: StageState;
  readonly triggers: readonly StageInstruction[];
}

/** Resolves a FROM. ONBUILD triggers of an image are read here; those of a stage the plan has already. */
export async function startStage(
  { stage, base, platform: chosen, triggers }: PlannedStage,
  from: BaseInput,
): Promise<StartedStage> {
  const platform = chosen ?? from.input.options.targetPlatform;
  switch (base.kind) {
    case "scratch":
      return { state: initialState(scratchImage(platform), platform, undefined), triggers: [] };
    case "stage": {
      const parent = await from.stage(base.index);
      return { state: initialState(parent.image, parent.platform, parent), triggers };
    }
    case "image": {
      const image = await from.image(base.name, platform);
      if (image.layers.length > 0) warnPlatform(image, platform, base.name);
      return fromImage(image, platform, base.name, lintBase);
    }
    case "context": {
      const image = await from.contextImage(base.name, platform);
      return fromImage(image, platform, base.name, lintBase);
    }
    default:
      return unreachable(base);
  }

  function lintBase(left: readonly StageInstruction[]): void {
    from.warn(lintTriggers(left, { stage }, from.input.plan.check));
  }

  function warnPlatform(image: Image, wanted: Platform, name: string): void {
    const actual = normalizePlatform(image.config.platform);
    from.warn(lintBasePlatform(name, wanted, actual, stage.from, from.input.plan.check));
  }
}

function fromImage(
  image: Image,
  platform: Platform,
  name: string,
  lint: (triggers: readonly StageInstruction[]) => void,
): StartedStage {
  const triggers = image.config.onBuild.map((text) => parseTrigger(text, `ONBUILD of ${name}`));
  lint(triggers);
  return { state: initialState(image, platform, undefined), triggers };
}
