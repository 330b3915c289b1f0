import { createHash } from "node:crypto";
import type { PlannedStage } from "../dockerfile/types.js";
import type { StageInstruction, StageState } from "./types.js";

declare const brand: unique symbol;

/** Says by definition what a step is made of: steps of one build that have the same key make the same. */
export type StepKey = string & { readonly [brand]: "StepKey" };

/** The key of a FROM; `parent`: that of the last step of the stage that it names. */
export function baseKey(
  { base }: PlannedStage,
  { image, platform }: StageState,
  parent: StepKey | undefined,
): StepKey {
  if (parent !== undefined) return keyOf(["stage", parent]);
  const { config, format, history } = image;
  const layers = image.layers.map(({ descriptor, diffId }) => [descriptor.digest, diffId]);
  return keyOf([base.kind, platform, config, format, history, layers]);
}

/**
 * The key of an instruction: its text and what that was read as, the variables that it leaves behind (those of before are
 * in the parent's key), and what it copies and mounts from.
 */
export function stepKey(
  parent: StepKey,
  instruction: StageInstruction,
  { env, args }: StageState,
  sources: readonly string[],
): StepKey {
  return keyOf([parent, instruction, [...env], args, sources]);
}

function keyOf(ingredients: readonly unknown[]): StepKey {
  const text = JSON.stringify(ingredients, withoutPlaces);
  return createHash("sha256").update(text).digest("hex") as StepKey;
}

/** Where an instruction stands, and what is said about it, decides nothing. */
function withoutPlaces(name: string, value: unknown): unknown {
  return name === "span" || name === "body" || name === "comments" ? undefined : value;
}
