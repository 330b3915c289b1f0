import { fail, type Problems } from "../diagnostic.js";
import { Flags, present } from "../flags.js";
import { spanOf, wordOf } from "../fragment.js";
import { quote } from "../go-values.js";
import type { Statement } from "../statement.js";
import type { From } from "../types.js";
import { splitBlanks } from "../words.js";
import { argumentsSpan, common } from "./base.js";

const STAGE_NAME = /^[a-z][a-z0-9-_.]*$/;

/** Whether a stage may have this name, once it is in lower case. */
export function isStageName(name: string): boolean {
  return STAGE_NAME.test(name);
}

export function readFrom(statement: Statement, problems: Problems): From {
  const flags = new Flags(statement, { platform: "string" }, problems);
  const [image, as, name, ...more] = splitBlanks(statement.rest);
  const isNamed = name !== undefined && more.length === 0 && as?.text.toLowerCase() === "as";
  if (image === undefined || (as !== undefined && !isNamed)) {
    const hint = "FROM image, or FROM image AS name";
    const message = "FROM requires either one or three arguments";
    fail("from", message, argumentsSpan(statement), hint);
  }
  const lower = name?.text.toLowerCase();
  if (name !== undefined && !isStageName(lower ?? "")) {
    const message = `invalid name for build stage: ${quote(name.text)}, name can't start with a number or contain symbols`;
    fail("stage-name", message, spanOf(name));
  }
  return {
    ...common("FROM", statement),
    image: wordOf(image),
    ...present({ as: lower, asText: name?.text, platform: flags.word("platform") }),
  };
}
