import { expandWord, expandWords } from "../dockerfile/index.js";
import type { Word } from "../dockerfile/types.js";
import type { StageState, Tools } from "./types.js";

/** A word with the stage's variables put in. @throws DockerfileError with the word's place. */
export function expand(word: Word, state: StageState, tools: Pick<Tools, "escape">): string {
  return expandWord(word, { get: (name) => state.env.get(name), escape: tools.escape }).value;
}

/** Likewise, where one word may become several (EXPOSE). */
export function expandAll(
  words: readonly Word[],
  state: StageState,
  tools: Pick<Tools, "escape">,
): readonly string[] {
  const scope = { get: (name: string) => state.env.get(name), escape: tools.escape };
  return words.flatMap((word) => expandWords(word, scope));
}
