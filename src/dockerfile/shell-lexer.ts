import { PatternError, replacePattern, trimPrefix, trimSuffix } from "./pattern.js";
import { isSpace } from "../internal/go-spaces.js";
import type { EscapeToken } from "./types.js";

/** `${a:-${b:-…}}` nested deeper than this is refused, before it fills the stack. */
const MAX_DEPTH = 200;
const LETTER_OR_DIGIT = /[\p{L}\p{Nd}_]/u;
const DIGIT = /\p{Nd}/u;
/** They name a shell's parameters, which a Dockerfile never has. */
const SPECIAL = "@*#?-$!0";

/** Why a word cannot be expanded. */
export class LexError extends Error {
  /** Index in the text where the offending quote, escape or substitution begins. */
  at = 0;
}

export interface LexOptions {
  readonly escape: EscapeToken;
  get(name: string): string | undefined;
  /** Quotes stay in the result (but still quote). */
  readonly rawQuotes?: boolean;
  /** Escapes stay in the result (but still escape). */
  readonly rawEscapes?: boolean;
  /** Quotes are ordinary characters: in the body of a heredoc. */
  readonly plainQuotes?: boolean;
  /** `$name` without a value stays as written. */
  readonly keepUnset?: boolean;
}

/** A word of the result, and what it was read from. */
export interface LexWord {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export interface Lexed {
  readonly value: string;
  readonly words: readonly LexWord[];
  /** Names without a value, each once. */
  readonly unset: ReadonlySet<string>;
}

/** Splits at white space that is not quoted. A word that is empty, even a quoted one, is none. */
class Words {
  readonly list: LexWord[] = [];
  #text = "";
  #start = 0;
  #end = 0;

  add(text: string, start: number, end: number): void {
    if (text === "") return;
    if (this.#text === "") this.#start = start;
    this.#text += text;
    this.#end = end;
  }

  addSplitting(text: string, start: number, end: number): void {
    for (const char of text) {
      if (isSpace(char)) this.flush();
      else this.add(char, start, end);
    }
  }

  flush(): void {
    if (this.#text === "") return;
    this.list.push({ text: this.#text, start: this.#start, end: this.#end });
    this.#text = "";
  }
}

/** One pass over a text, as BuildKit's shell.Lex reads it: quotes, escapes, `$name`, `${name…}`. */
class Lexer {
  readonly #text: string;
  readonly #options: LexOptions;
  readonly unset = new Set<string>();
  #at = 0;
  #depth = 0;
  /** Where what is being read at the outermost level begins. */
  token = 0;

  constructor(text: string, options: LexOptions) {
    this.#text = text;
    this.#options = options;
  }

  /** Reads up to `stop`, which is consumed, or to the end. */
  read(stop: string | undefined, rawEscapes: boolean, words?: Words): string {
    let result = "";
    while (!this.#done) {
      const start = this.#at;
      if (stop === undefined) this.token = start;
      const char = this.#next();
      if (char === stop) return result;
      if (char === "$") {
        const value = this.#dollar();
        result += value;
        words?.addSplitting(value, start, this.#at);
        continue;
      }
      const quoted = this.#quoted(char, rawEscapes);
      const text = quoted ?? char;
      result += text;
      if (quoted === undefined) words?.addSplitting(char, start, this.#at);
      else words?.add(text, start, this.#at);
    }
    if (stop !== undefined) throw new LexError(this.#missing(stop));
    words?.flush();
    return result;
  }

  get #done(): boolean {
    return this.#at >= this.#text.length;
  }

  #peek(): string {
    const code = this.#text.codePointAt(this.#at);
    return code === undefined ? "" : String.fromCodePoint(code);
  }

  #next(): string {
    const char = this.#peek();
    this.#at += char.length;
    return char;
  }

  #missing(stop: string): string {
    return stop === "/" ? "syntax error: missing '/' in ${}" : "syntax error: missing '}'";
  }

  /** What `char` and its followers stand for, when they are quoted, escaped, or the start of a heredoc word. */
  #quoted(char: string, rawEscapes: boolean): string | undefined {
    if (char === this.#options.escape) {
      const next = this.#next();
      return rawEscapes ? char + next : next;
    }
    if (this.#options.plainQuotes !== true) {
      if (char === "'") return this.#singleQuote();
      if (char === '"') return this.#doubleQuote(rawEscapes);
    }
    return char === "<" ? this.#heredocSign() : undefined;
  }

  /** `<<` keeps the blanks behind it, so that `<< EOF` is one word. */
  #heredocSign(): string {
    if (this.#peek() !== "<") return "<";
    const start = this.#at - 1;
    this.#at += 1;
    while (!this.#done && "\t\r ".includes(this.#peek())) this.#at += 1;
    return this.#text.slice(start, this.#at);
  }

  #singleQuote(): string {
    const end = this.#text.indexOf("'", this.#at);
    if (end < 0) {
      throw new LexError("unexpected end of statement while looking for matching single-quote");
    }
    const inner = this.#text.slice(this.#at, end);
    this.#at = end + 1;
    return this.#options.rawQuotes === true ? `'${inner}'` : inner;
  }

  #doubleQuote(rawEscapes: boolean): string {
    const { escape } = this.#options;
    let result = "";
    while (!this.#done) {
      const char = this.#next();
      if (char === '"') return this.#options.rawQuotes === true ? `"${result}"` : result;
      if (char === "$") {
        result += this.#dollar();
        continue;
      }
      if (char !== escape) {
        result += char;
        continue;
      }
      if (rawEscapes) result += escape;
      const next = this.#peek();
      if (next === "") break;
      result += next === '"' || next === "$" || next === escape ? this.#next() : escape;
    }
    throw new LexError("unexpected end of statement while looking for matching double-quote");
  }

  #name(): string {
    const start = this.#at;
    const first = this.#peek();
    if (DIGIT.test(first)) {
      while (DIGIT.test(this.#peek())) this.#next();
    } else if (first !== "" && SPECIAL.includes(first)) {
      this.#next();
    } else {
      while (LETTER_OR_DIGIT.test(this.#peek())) this.#next();
    }
    return this.#text.slice(start, this.#at);
  }

  #value(name: string): string | undefined {
    const value = this.#options.get(name);
    if (value === undefined) this.unset.add(name);
    return value;
  }

  /** After `$`. */
  #dollar(): string {
    if (this.#peek() !== "{") {
      const name = this.#name();
      if (name === "") return "$";
      return this.#value(name) ?? (this.#options.keepUnset === true ? `$${name}` : "");
    }
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw new LexError("substitutions are nested too deeply");
    const value = this.#substitution();
    this.#depth -= 1;
    return value;
  }

  #substitution(): string {
    const start = this.#at - 1;
    this.#at += 1;
    const first = this.#peek();
    if (first === "") throw new LexError("syntax error: missing '}'");
    if ("{}:".includes(first)) throw new LexError("syntax error: bad substitution");
    const name = this.#name();
    const sign = this.#next();
    const keep = (value: string | undefined, otherwise: () => string): string =>
      value === undefined && this.#options.keepUnset === true
        ? this.#text.slice(start, this.#at)
        : otherwise();
    switch (sign) {
      case "":
        throw new LexError("syntax error: missing '}'");
      case "}": {
        const value = this.#value(name);
        return keep(value, () => value ?? "");
      }
      case "/": {
        const all = this.#peek() === "/";
        if (all) this.#at += 1;
        const pattern = this.read("/", true);
        const replacement = this.read("}", true);
        const value = this.#value(name);
        return keep(value, () =>
          patterned(() => replacePattern(value ?? "", pattern, replacement, all)),
        );
      }
      default: {
        const modifier = sign === ":" ? sign + this.#next() : sign;
        if (!/^(?::?[-+?]|[#%])$/.test(modifier)) this.#unsupported(modifier);
        const trims = modifier === "#" || modifier === "%";
        const word = this.read("}", trims);
        const value = this.#value(name);
        return keep(value, () => modify(name, value, modifier, word));
      }
    }
  }

  #unsupported(modifier: string): never {
    if (this.#done && modifier === ":") throw new LexError("syntax error: missing '}'");
    const shown = JSON.stringify(modifier).slice(1, -1);
    throw new LexError(`unsupported modifier (${shown}) in substitution`);
  }
}

function patterned(apply: () => string): string {
  try {
    return apply();
  } catch (error) {
    if (error instanceof PatternError) {
      throw new LexError(`invalid pattern in substitution: ${error.message}`);
    }
    throw error;
  }
}

/** `${name<modifier>word}`, the word already expanded. */
function modify(name: string, value: string | undefined, modifier: string, word: string): string {
  const operator = modifier.at(-1) ?? "";
  if (operator === "#" || operator === "%") {
    const longest = word.startsWith(operator);
    const trim = operator === "#" ? trimPrefix : trimSuffix;
    return patterned(() => trim(value ?? "", longest ? word.slice(1) : word, longest));
  }
  const counts = value !== undefined && (value !== "" || !modifier.startsWith(":"));
  if (operator === "-") return counts ? value : word;
  if (operator === "+") return counts ? word : "";
  if (counts) return value;
  const state = value === undefined ? "unset" : "empty";
  throw new LexError(`${name}: ${word === "" ? `is not allowed to be ${state}` : word}`);
}

/** @throws LexError */
export function lex(text: string, options: LexOptions): Lexed {
  const lexer = new Lexer(text, options);
  const words = new Words();
  try {
    const value = lexer.read(undefined, options.rawEscapes === true, words);
    return { value, words: words.list, unset: lexer.unset };
  } catch (error) {
    if (error instanceof LexError) error.at = lexer.token;
    throw error;
  }
}
