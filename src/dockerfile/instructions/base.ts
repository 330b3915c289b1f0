import { spanOf } from "../fragment.js";
import type { Statement } from "../statement.js";
import type { Command, Span } from "../types.js";
import { readJsonArray } from "../words.js";

/** What every instruction has. */
export interface Common<K extends string> {
  readonly kind: K;
  readonly span: Span;
  readonly text: string;
  readonly comments: readonly string[];
}

export function common<K extends string>(kind: K, statement: Statement): Common<K> {
  const { whole, comments } = statement;
  return { kind, span: spanOf(whole), text: whole.text, comments };
}

/** The place of a statement's arguments, or of its name when it has none. */
export function argumentsSpan({ rest, keyword }: Statement): Span {
  return spanOf(rest.text === "" ? keyword : rest);
}

/** The JSON form, or else all of the text for a shell. @throws Fault */
export function readCommand(rest: Statement["rest"]): Command {
  const span = spanOf(rest);
  const words = readJsonArray(rest);
  if (words === undefined) return { form: "shell", text: rest.text, span };
  return { form: "exec", argv: words.map(({ text }) => text), span };
}
