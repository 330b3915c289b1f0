import { Composer, type Fragment, cut, trimmed } from "./fragment.js";
import { isSpace } from "../internal/go-spaces.js";
import type { EscapeToken, Heredoc } from "./types.js";

/** A logical line taken apart as far as every instruction has it in common. */
export interface Statement {
  /** The instruction's name as written. */
  readonly keyword: Fragment;
  /** `--name=value`, without quotes and escapes. */
  readonly flags: readonly RawFlag[];
  /** What follows, without white space around it. */
  readonly rest: Fragment;
  /** All of it, without white space around it. */
  readonly whole: Fragment;
  /** All of it, with the white space at its end. */
  readonly line: Fragment;
  readonly escape: EscapeToken;
  readonly heredocs: readonly Heredoc[];
  /** Comments above, without `#`. */
  readonly comments: readonly string[];
}

export interface RawFlag {
  readonly text: Fragment;
  /** As written, quotes included. */
  readonly written: Fragment;
}

const BLANKS = /[\t\v\f\r ]+/;

/** Splits a line into name, flags and the rest. */
export function splitStatement(
  line: Fragment,
  escape: EscapeToken,
): Omit<Statement, "heredocs" | "comments"> {
  const whole = trimmed(line);
  const blank = BLANKS.exec(whole.text);
  const end = blank?.index ?? whole.text.length;
  const after = cut(whole, end + (blank?.[0].length ?? 0));
  const { flags, rest } = splitFlags(after, escape);
  return { keyword: cut(whole, 0, end), flags, rest: trimmed(rest), whole, line, escape };
}

/** Words that begin with `--`, up to the first that does not, or to `--` alone. */
function splitFlags(
  text: Fragment,
  escape: EscapeToken,
): { readonly flags: readonly RawFlag[]; readonly rest: Fragment } {
  const flags: RawFlag[] = [];
  let at = 0;
  for (;;) {
    while (at < text.text.length && isSpace(text.text.charAt(at))) at += 1;
    if (!text.text.startsWith("--", at)) return { flags, rest: cut(text, at) };
    const { flag, end } = readFlag(text, at, escape);
    at = end;
    if (flag.text.text === "--") return { flags, rest: cut(text, at) };
    flags.push(flag);
  }
}

/** Quotes are taken off; an escape protects the next character, within quotes of both kinds too. */
function readFlag(
  text: Fragment,
  start: number,
  escape: EscapeToken,
): { readonly flag: RawFlag; readonly end: number } {
  const composer = new Composer(text);
  let quote = "";
  let at = start;
  for (; at < text.text.length; at += 1) {
    const char = text.text.charAt(at);
    if (quote === "" && isSpace(char)) break;
    if (quote === "" ? char === "'" || char === '"' : char === quote) {
      quote = quote === "" ? char : "";
      continue;
    }
    if (char === escape) {
      at += 1;
      if (at >= text.text.length) break;
    }
    composer.add(at);
  }
  const end = Math.min(at, text.text.length);
  return { flag: { text: composer.finish(start), written: cut(text, start, end) }, end };
}
