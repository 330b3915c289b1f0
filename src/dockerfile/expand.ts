import { fail, raising } from "./diagnostic.js";
import { LexError, lex, type LexOptions, type Lexed } from "./shell-lexer.js";
import type { Expansion, Heredoc, Scope, Span, Word } from "./types.js";

function lexAt(text: string, options: LexOptions, place: Span | ((at: number) => Span)): Lexed {
  try {
    return lex(text, options);
  } catch (error) {
    if (!(error instanceof LexError)) throw error;
    fail("expansion", error.message, typeof place === "function" ? place(error.at) : place);
  }
}

function optionsOf(scope: Scope): LexOptions {
  return { escape: scope.escape, get: (name) => scope.get(name) };
}

/** `expandWord` for this room. @throws Fault */
export function expand(word: Word, scope: Scope): Expansion {
  const { value, unset } = lexAt(word.text, optionsOf(scope), word.span);
  return { value, unset: [...unset] };
}

/**
 * Expands variables, quotes and escapes; the result is never split.
 * @throws DockerfileError at the word
 */
export function expandWord(word: Word, scope: Scope): Expansion {
  return raising(() => expand(word, scope));
}

/**
 * Expands and then splits at white space outside of quotes, as EXPOSE alone does.
 * @throws DockerfileError at the word
 */
export function expandWords(word: Word, scope: Scope): string[] {
  const lexed = raising(() => lexAt(word.text, optionsOf(scope), word.span));
  return lexed.words.map(({ text }) => text);
}

/** The body as written, without the leading tabs where `<<-` asks for it. */
export function heredocText(heredoc: Heredoc): string {
  return heredoc.chomp ? heredoc.content.replace(/(^|\n)\t+/g, "$1") : heredoc.content;
}

/**
 * The body of a COPY or ADD heredoc as the file's content. Its escape character is always the backslash, and quotes
 * stay.
 * @throws DockerfileError at the line of the body
 */
export function expandHeredoc(heredoc: Heredoc, scope: Scope): Expansion {
  const text = heredocText(heredoc);
  if (!heredoc.expand) return { value: text, unset: [] };
  const options = { ...optionsOf(scope), escape: "\\", plainQuotes: true } as const;
  const place = (at: number): Span => bodyLine(heredoc, text.slice(0, at).split("\n").length - 1);
  const { value, unset } = raising(() => lexAt(text, options, place));
  return { value, unset: [...unset] };
}

/** The place of a line of the body; stripping tabs moves no line. */
function bodyLine({ body, content }: Heredoc, index: number): Span {
  const lines = content.split("\n");
  const start = body.start + lines.slice(0, index).join("\n").length + (index > 0 ? 1 : 0);
  return { file: body.file, start, end: start + (lines[index]?.length ?? 0) };
}
