import { fail, type Problems } from "../diagnostic.js";
import { Flags } from "../flags.js";
import { type Fragment, cut, spanOf, wordOf } from "../fragment.js";
import { quote } from "../go-values.js";
import type { Statement } from "../statement.js";
import type { Arg, Env, Label, Word } from "../types.js";
import { splitOnce, splitQuoted } from "../words.js";
import { argumentsSpan, common } from "./base.js";

interface Pair {
  readonly name: Word;
  readonly value: Word;
}

/** The two sides of the first `=`; undefined when there is none. */
function splitPair(word: Fragment): Pair | undefined {
  const equals = word.text.indexOf("=");
  if (equals < 0) return undefined;
  return { name: wordOf(cut(word, 0, equals)), value: wordOf(cut(word, equals + 1)) };
}

/** `name=value …`, or the legacy `name rest of the line`, told apart by what comes first: `=` or white space. */
function readPairs(
  kind: "ENV" | "LABEL",
  statement: Statement,
): { readonly entries: readonly Pair[]; readonly legacy: boolean } {
  const words = splitQuoted(statement.rest, statement.escape);
  const [first] = words;
  if (first === undefined) {
    fail("arguments", `${kind} requires at least one argument`, argumentsSpan(statement));
  }
  if (!first.text.includes("=")) {
    const halves = splitOnce(statement.rest);
    if (halves === undefined) {
      fail("pairs", `${kind} must have two arguments`, spanOf(first), `${kind} name=value`);
    }
    return { entries: [{ name: wordOf(halves[0]), value: wordOf(halves[1]) }], legacy: true };
  }
  const entries = words.map((word) => {
    const pair = splitPair(word);
    if (pair === undefined) {
      const message = `Syntax error - can't find = in ${quote(word.text)}. Must be of the form: name=value`;
      fail("pairs", message, spanOf(word), "quote the value if it contains blanks");
    }
    if (pair.name.text === "") {
      fail("arguments", `${kind} names can not be blank`, spanOf(word));
    }
    return pair;
  });
  return { entries, legacy: false };
}

export function readEnv(statement: Statement, problems: Problems): Env {
  new Flags(statement, {}, problems);
  return { ...common("ENV", statement), ...readPairs("ENV", statement) };
}

export function readLabel(statement: Statement, problems: Problems): Label {
  new Flags(statement, {}, problems);
  return { ...common("LABEL", statement), ...readPairs("LABEL", statement) };
}

export function readArg(statement: Statement, problems: Problems): Arg {
  new Flags(statement, {}, problems);
  const words = splitQuoted(statement.rest, statement.escape);
  if (words.length === 0) {
    fail("arguments", "ARG requires at least one argument", argumentsSpan(statement));
  }
  const entries = words.map((word) => {
    const pair = splitPair(word);
    if (pair?.name.text === "") fail("arguments", "ARG names can not be blank", spanOf(word));
    return pair ?? { name: wordOf(word) };
  });
  return { ...common("ARG", statement), entries };
}
