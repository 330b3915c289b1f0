import { expandWord, expandWords, lintUnset } from "../dockerfile/index.js";
import type { Scope, Word } from "../dockerfile/types.js";
import type { StageState, Tools } from "./types.js";

/** What a handler needs to expand words. */
export type Expanding = Pick<Tools, "escape" | "at" | "plan" | "warn">;

export function scopeOf(state: StageState, tools: Pick<Tools, "escape">): Scope {
  return { get: (name) => state.env.get(name), escape: tools.escape };
}

/** A word with the stage's variables put in. @throws DockerfileError with the word's place. */
export function expand(word: Word, state: StageState, tools: Expanding): string {
  const { value, unset } = expandWord(word, scopeOf(state, tools));
  warnUnset(unset, state, tools);
  return value;
}

/** Likewise, where one word may become several (EXPOSE, whose variables BuildKit does not check). */
export function expandAll(
  words: readonly Word[],
  state: StageState,
  tools: Pick<Tools, "escape">,
): readonly string[] {
  const scope = scopeOf(state, tools);
  return words.flatMap((word) => expandWords(word, scope));
}

/** Arguments that steer the build and never reach a step's environment; nobody means a variable by them. */
export const NOT_IN_ENVIRONMENT: ReadonlySet<string> = new Set([
  "BUILDKIT_SBOM_SCAN_CONTEXT",
  "BUILDKIT_SBOM_SCAN_STAGE",
]);

/** UndefinedVar, for names that nothing declares. */
export function warnUnset(unset: readonly string[], state: StageState, tools: Expanding): void {
  if (unset.length === 0) return;
  const declared = new Set([...NOT_IN_ENVIRONMENT, ...state.args.map(({ name }) => name)]);
  tools.warn(lintUnset(unset, declared, state.env.keys(), tools.at, tools.plan.check));
}
