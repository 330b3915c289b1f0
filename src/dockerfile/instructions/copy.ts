import { fail, type Problems } from "../diagnostic.js";
import { Flags, present } from "../flags.js";
import { type Fragment, cut, spanOf, wordOf } from "../fragment.js";
import { heredocPlaces, isHeredocWord } from "../heredoc.js";
import { lex, LexError } from "../shell-lexer.js";
import type { Statement } from "../statement.js";
import type { Add, Copy, CopySource, Flag, Heredoc, Word } from "../types.js";
import { readJsonArray, splitBlanks } from "../words.js";
import { argumentsSpan, common } from "./base.js";

export function readCopy(statement: Statement, problems: Problems): Copy {
  const known = {
    from: "string",
    chown: "string",
    chmod: "string",
    link: "bool",
    parents: "bool",
    exclude: "list",
  } as const;
  const flags = new Flags(statement, known, problems);
  const paths = readPaths("COPY", statement);
  const from = flags.text("from");
  if (from !== undefined) problems.attempt(() => checkFrom(from));
  return {
    ...common("COPY", statement),
    ...paths,
    exclude: flags.words("exclude"),
    ...present({
      from: from?.value === "" ? undefined : from,
      chown: flags.word("chown"),
      chmod: flags.word("chmod"),
      link: flags.bool("link"),
      parents: flags.bool("parents"),
    }),
  };
}

export function readAdd(statement: Statement, problems: Problems): Add {
  const known = {
    chown: "string",
    chmod: "string",
    link: "bool",
    "keep-git-dir": "bool",
    checksum: "string",
    unpack: "bool",
    exclude: "list",
  } as const;
  const flags = new Flags(statement, known, problems);
  return {
    ...common("ADD", statement),
    ...readPaths("ADD", statement),
    exclude: flags.words("exclude"),
    ...present({
      chown: flags.word("chown"),
      chmod: flags.word("chmod"),
      link: flags.bool("link"),
      keepGitDir: flags.bool("keep-git-dir"),
      checksum: flags.word("checksum"),
      unpack: flags.bool("unpack"),
    }),
  };
}

/** Nothing in `--from` may stand for something else: it has to be known before any variable is. */
function checkFrom(from: Flag<string>): void {
  const message =
    "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
  try {
    if (lex(from.value, { escape: "\\", get: () => undefined }).value === from.value) return;
  } catch (error) {
    if (!(error instanceof LexError)) throw error;
  }
  fail("from", message, from.span);
}

interface Paths {
  readonly sources: readonly CopySource[];
  readonly target: Word;
}

function readPaths(kind: "COPY" | "ADD", statement: Statement): Paths {
  const { rest, heredocs } = statement;
  const json = readJsonArray(rest);
  const sources: CopySource[] =
    json?.map((word) => ({ kind: "path", word })) ?? splitAround(rest, heredocs);
  const target = sources.pop();
  if (target === undefined || sources.length === 0) {
    const message = `${kind} requires at least two arguments, but only one was provided. Destination could not be determined`;
    fail("arguments", message, argumentsSpan(statement), `${kind} source... destination`);
  }
  if (target.kind === "heredoc" || isHeredocWord(target.word.text)) {
    const message = `${kind} cannot accept a heredoc as a destination`;
    const { span } = target.kind === "heredoc" ? target.heredoc : target.word;
    fail("heredoc", message, span, "write the destination last");
  }
  return { sources, target: target.word };
}

/** Words between white space; a heredoc's word stays whole, with the blanks in it. */
function splitAround(text: Fragment, heredocs: readonly Heredoc[]): CopySource[] {
  const result: CopySource[] = [];
  const words = (part: Fragment): void => {
    for (const word of splitBlanks(part)) {
      if (word.text !== "") result.push({ kind: "path", word: pathWord(word) });
    }
  };
  let at = 0;
  for (const [index, place] of heredocPlaces(text).entries()) {
    const start = place.at.start - text.start;
    const heredoc = heredocs[index];
    if (heredoc === undefined) break;
    words(cut(text, at, start));
    result.push({ kind: "heredoc", heredoc });
    at = start + heredoc.word.length;
  }
  words(cut(text, at));
  return result;
}

/** A heredoc that is not seen because a quote of the line is not closed would become a path, and its body instructions. */
function pathWord(word: Fragment): Word {
  if (isHeredocWord(word.text)) {
    const message = "a quote in this line is not closed, so the heredoc cannot be read";
    fail("heredoc", message, spanOf(word));
  }
  return wordOf(word);
}
