import type { SourceFile, Span, Word } from "./types.js";
import { endWithoutSpaces, skipSpaces } from "../internal/go-spaces.js";

/** `text` from index `at` on stands at `source` of the file, up to the next piece. */
export interface Piece {
  readonly at: number;
  readonly source: number;
}

/** Text put together from pieces of a file: a logical line, or a flag without its quotes. */
export interface Composed {
  readonly file: SourceFile;
  readonly text: string;
  /** Ascending by `at`; the first is 0. */
  readonly pieces: readonly Piece[];
}

/** A part of a composed text, which knows where its characters stood. */
export interface Fragment {
  readonly whole: Composed;
  readonly start: number;
  readonly text: string;
}

export function fragmentOf(whole: Composed): Fragment {
  return { whole, start: 0, text: whole.text };
}

export function cut(fragment: Fragment, start: number, end = fragment.text.length): Fragment {
  return {
    whole: fragment.whole,
    start: fragment.start + start,
    text: fragment.text.slice(start, end),
  };
}

/** Without white space at both ends. */
export function trimmed(fragment: Fragment): Fragment {
  const end = endWithoutSpaces(fragment.text);
  return cut(fragment, Math.min(skipSpaces(fragment.text), end), end);
}

/** Where the character at `index` of the composed text stands in its file. */
export function sourceOffset(whole: Composed, index: number): number {
  let low = 0;
  let high = whole.pieces.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((whole.pieces[middle]?.at ?? 0) <= index) low = middle;
    else high = middle - 1;
  }
  const piece = whole.pieces[low] ?? { at: 0, source: 0 };
  return piece.source + index - piece.at;
}

/** The place of `[start, end)` of the fragment; ends after its last character, before any continuation. */
export function spanOf(fragment: Fragment, start = 0, end = fragment.text.length): Span {
  const { whole } = fragment;
  const first = sourceOffset(whole, fragment.start + start);
  const after = end > start ? sourceOffset(whole, fragment.start + end - 1) + 1 : first;
  return { file: whole.file, start: first, end: Math.max(first, after) };
}

export function wordOf(fragment: Fragment): Word {
  return { text: fragment.text, span: spanOf(fragment) };
}

/** Collects characters of a fragment into a new composed text. */
export class Composer {
  readonly #from: Fragment;
  readonly #pieces: Piece[] = [];
  #text = "";
  #next = -1;

  constructor(from: Fragment) {
    this.#from = from;
  }

  get length(): number {
    return this.#text.length;
  }

  add(index: number): void {
    const source = sourceOffset(this.#from.whole, this.#from.start + index);
    if (source !== this.#next) this.#pieces.push({ at: this.#text.length, source });
    this.#text += this.#from.text.charAt(index);
    this.#next = source + 1;
  }

  /** `index`: the place that an empty text stands for. */
  finish(index: number): Fragment {
    const { file } = this.#from.whole;
    const empty = {
      at: 0,
      source: sourceOffset(this.#from.whole, this.#from.start + index),
    };
    const pieces = this.#pieces.length === 0 ? [empty] : this.#pieces;
    return fragmentOf({ file, text: this.#text, pieces });
  }
}
