import { fail } from "./diagnostic.js";
import { type Fragment, cut, spanOf, wordOf } from "./fragment.js";
import { isSpace } from "../internal/go-spaces.js";
import type { EscapeToken, Word } from "./types.js";

const BLANKS = /[\t\v\f\r ]+/g;

/** Splits at white space; neither quotes nor escapes protect it. */
export function splitBlanks(text: Fragment): Fragment[] {
  if (text.text === "") return [];
  const parts: Fragment[] = [];
  let start = 0;
  for (const { 0: blank, index } of text.text.matchAll(BLANKS)) {
    parts.push(cut(text, start, index));
    start = index + blank.length;
  }
  parts.push(cut(text, start));
  return parts;
}

/** The name and the rest of the line after the first white space; undefined when there is none. */
export function splitOnce(text: Fragment): readonly [Fragment, Fragment] | undefined {
  const blank = /[\t\v\f\r ]+/.exec(text.text);
  if (blank === null) return undefined;
  return [cut(text, 0, blank.index), cut(text, blank.index + blank[0].length)];
}

/** Splits at white space outside of quotes; quotes and escapes stay. A lone escape at the very end is dropped. */
export function splitQuoted(text: Fragment, escape: EscapeToken): Fragment[] {
  const words: Fragment[] = [];
  const source = text.text;
  let at = 0;
  for (;;) {
    while (at < source.length && isSpace(source.charAt(at))) at += 1;
    if (at >= source.length) return words;
    const start = at;
    let end = at;
    let quote = "";
    for (; at < source.length; at += 1) {
      const char = source.charAt(at);
      if (quote === "" && isSpace(char)) break;
      if (char === escape && quote !== "'") {
        if (at + 1 >= source.length) continue;
        at += 1;
      } else if (quote === "") {
        if (char === "'" || char === '"') quote = char;
      } else if (char === quote) quote = "";
      end = at + 1;
    }
    if (end > start) words.push(cut(text, start, end));
  }
}

/**
 * A JSON array of strings; undefined when the text is no JSON array, which means it is to be read as plain text.
 * @throws Fault when it is one, of something else
 */
export function readJsonArray(text: Fragment): readonly Word[] | undefined {
  if (!text.text.startsWith("[")) return undefined;
  const values = parseArray(text.text);
  if (values === undefined) return undefined;
  const places = stringPlaces(text);
  return values.map((value, index) => {
    const place = places[index];
    if (typeof value !== "string" || place === undefined) {
      const message = "when using JSON array syntax, arrays must be comprised of strings only";
      fail("json-array", message, spanOf(text), "put every element in double quotes");
    }
    return { text: value, span: spanOf(place) };
  });
}

/** Whether the text is read as JSON at all. */
export function isJsonArray(text: string): boolean {
  return text.startsWith("[") && parseArray(text) !== undefined;
}

function parseArray(text: string): readonly unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined; // no JSON: plain text
  }
}

/** The strings of a text that is known to be JSON, with their quotes. */
function stringPlaces(text: Fragment): Fragment[] {
  const places: Fragment[] = [];
  for (const { 0: string, index } of text.text.matchAll(/"(?:[^"\\]|\\.)*"/gs)) {
    places.push(cut(text, index, index + string.length));
  }
  return places;
}

/** A JSON array of strings, else words between white space. */
export function readList(text: Fragment): readonly Word[] {
  return readJsonArray(text) ?? splitBlanks(text).map(wordOf);
}
