import { fail } from "./diagnostic.js";
import { type Fragment, cut, spanOf } from "./fragment.js";
import { LexError, lex } from "./shell-lexer.js";
import type { Lines } from "./lines.js";
import type { Heredoc, Run, RunScript } from "./types.js";
import { heredocText } from "./expand.js";

const HEREDOC = /^(\d*)<<(-?)[\t\n\f\r ]*([^<]*)$/;
/** File descriptors beyond are clamped: no shell has them. */
const MAX_FD = 0x7fff_ffff;

/** What a word such as `3<<-"EOF"` says. */
export interface HeredocWord {
  readonly name: string;
  readonly fd: number;
  readonly chomp: boolean;
  readonly expand: boolean;
}

const nothing = (): undefined => undefined;
const KEEP = { escape: "\\", get: nothing, keepUnset: true } as const;

function quotesIn(text: string): number {
  return text.split(/['"]/).length - 1;
}

/** Reads a heredoc word; undefined when it is none. @throws LexError for unbalanced quotes */
export function parseHeredocWord(text: string): HeredocWord | undefined {
  const [, fd = "", dash = "", rest = ""] = HEREDOC.exec(text) ?? [];
  if (rest === "") return undefined;
  const [word, ...more] = lex(rest, KEEP).words;
  if (word === undefined || more.length > 0) return undefined;
  const raw = lex(rest, { ...KEEP, rawQuotes: true }).words[0]?.text ?? "";
  return {
    name: word.text,
    fd: Math.min(Number(fd), MAX_FD),
    chomp: dash === "-",
    // The same number of quotes with and without quoting: none of them quoted anything.
    expand: quotesIn(word.text) === quotesIn(raw),
  };
}

/** Where the heredoc words of a text stand. Text with unbalanced quotes has none. */
export function heredocPlaces(text: Fragment): readonly { at: Fragment; word: HeredocWord }[] {
  if (!text.text.includes("<<")) return [];
  const words = tryWords(text.text);
  return words.flatMap(({ start, end }) => {
    const at = cut(text, start, end);
    try {
      const word = parseHeredocWord(at.text);
      return word === undefined ? [] : [{ at, word }];
    } catch (error) {
      if (error instanceof LexError) fail("heredoc", error.message, spanOf(at));
      throw error;
    }
  });
}

function tryWords(text: string): readonly { readonly start: number; readonly end: number }[] {
  try {
    return lex(text, { ...KEEP, rawQuotes: true, rawEscapes: true }).words;
  } catch (error) {
    if (error instanceof LexError) return [];
    throw error;
  }
}

/**
 * Takes the bodies of a text's heredocs from the lines that follow it.
 * @throws Fault when a terminator is missing
 */
export function takeHeredocs(text: Fragment, lines: Lines): Heredoc[] {
  return heredocPlaces(text).map(({ at, word }) => {
    const span = spanOf(at);
    const body = lines.body(word.name, word.chomp);
    if (body === undefined) {
      fail("heredoc", "unterminated heredoc", span, `end it with a line that is only ${word.name}`);
    }
    const content = body.file.text.slice(body.start, body.end);
    return { ...word, word: at.text, content, span, body };
  });
}

/** A line and the bodies of its heredocs, put together again for a shell to read. */
export function withBodies(line: string, heredocs: readonly Heredoc[]): string {
  return [line, ...heredocs.map(({ content, name }) => content + name)].join("\n");
}

/** What a RUN executes: a heredoc that is the whole command is itself the script. */
export function runScript(run: Run): RunScript {
  if (run.command.form === "exec") return { kind: "exec", argv: run.command.argv };
  const { text } = run.command;
  const [first] = run.heredocs;
  if (first === undefined) return { kind: "shell", script: text };
  if (!isHeredocWord(text)) return { kind: "shell", script: withBodies(text, run.heredocs) };
  const content = heredocText(first);
  return content.startsWith("#!")
    ? { kind: "shebang", name: first.name, content }
    : { kind: "shell", script: content };
}

/** Whether a text is one heredoc word and nothing else. */
export function isHeredocWord(text: string): boolean {
  try {
    return parseHeredocWord(text) !== undefined;
  } catch (error) {
    if (error instanceof LexError) return false;
    throw error;
  }
}
