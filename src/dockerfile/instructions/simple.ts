import { fail, type Problems } from "../diagnostic.js";
import { Flags } from "../flags.js";
import { spanOf, wordOf } from "../fragment.js";
import type { Statement } from "../statement.js";
import type { Expose, Maintainer, StopSignal, User, Volume, Word, Workdir } from "../types.js";
import { readList, splitBlanks } from "../words.js";
import { trimSpaces } from "../../internal/go-spaces.js";
import { argumentsSpan, common } from "./base.js";

/** All of the text as one argument, blanks included. */
function oneArgument(kind: string, statement: Statement, problems: Problems): Word {
  new Flags(statement, {}, problems);
  if (statement.rest.text === "") {
    fail("arguments", `${kind} requires exactly one argument`, argumentsSpan(statement));
  }
  return wordOf(statement.rest);
}

export function readWorkdir(statement: Statement, problems: Problems): Workdir {
  const path = oneArgument("WORKDIR", statement, problems);
  return { ...common("WORKDIR", statement), path };
}

export function readUser(statement: Statement, problems: Problems): User {
  return { ...common("USER", statement), user: oneArgument("USER", statement, problems) };
}

export function readStopSignal(statement: Statement, problems: Problems): StopSignal {
  const signal = oneArgument("STOPSIGNAL", statement, problems);
  return { ...common("STOPSIGNAL", statement), signal };
}

export function readMaintainer(statement: Statement, problems: Problems): Maintainer {
  const name = oneArgument("MAINTAINER", statement, problems).text;
  return { ...common("MAINTAINER", statement), name };
}

function atLeastOne<T>(kind: string, list: readonly T[], statement: Statement): readonly T[] {
  if (list.length > 0) return list;
  fail("arguments", `${kind} requires at least one argument`, argumentsSpan(statement));
}

function byBytes(a: Word, b: Word): number {
  return Buffer.compare(Buffer.from(a.text), Buffer.from(b.text));
}

export function readExpose(statement: Statement, problems: Problems): Expose {
  new Flags(statement, {}, problems);
  const ports = atLeastOne("EXPOSE", splitBlanks(statement.rest), statement).map(wordOf);
  return { ...common("EXPOSE", statement), ports: ports.toSorted(byBytes) };
}

export function readVolume(statement: Statement, problems: Problems): Volume {
  new Flags(statement, {}, problems);
  const paths = atLeastOne("VOLUME", readList(statement.rest), statement).map((word) => {
    const text = trimSpaces(word.text);
    if (text === "") {
      fail("arguments", "VOLUME specified can not be an empty string", word.span);
    }
    return { text, span: word.span };
  });
  return { ...common("VOLUME", statement), paths };
}

/** ONBUILD's own part; what it triggers is read where the file is read. */
export function onbuildTrigger(statement: Statement): string {
  return statement.line.text.replace(/^[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*/i, "");
}

/** The instruction behind ONBUILD, checked as far as ONBUILD itself goes. */
export function checkTrigger(name: string, statement: Statement): void {
  const upper = name.toUpperCase();
  if (upper === "") {
    fail("arguments", "ONBUILD requires at least one argument", spanOf(statement.keyword));
  }
  const span = spanOf(statement.rest, 0, name.length);
  if (upper === "ONBUILD") {
    fail("onbuild", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", span);
  }
  if (upper === "MAINTAINER" || upper === "FROM") {
    fail("onbuild", `${upper} isn't allowed as an ONBUILD trigger`, span);
  }
}
