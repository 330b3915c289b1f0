import { fail, type Problems } from "../diagnostic.js";
import { Flags, present } from "../flags.js";
import { cut, spanOf } from "../fragment.js";
import { DurationError, parseDuration, quote } from "../go-values.js";
import { isSpace, skipSpaces } from "../../internal/go-spaces.js";
import type { Statement } from "../statement.js";
import type { Cmd, Entrypoint, Flag, HealthcheckInstruction, Shell, Word } from "../types.js";
import { readJsonArray } from "../words.js";
import { argumentsSpan, common, readCommand } from "./base.js";

export function readCmd(statement: Statement, problems: Problems): Cmd {
  new Flags(statement, {}, problems);
  return { ...common("CMD", statement), command: readCommand(statement.rest) };
}

export function readEntrypoint(statement: Statement, problems: Problems): Entrypoint {
  new Flags(statement, {}, problems);
  return { ...common("ENTRYPOINT", statement), command: readCommand(statement.rest) };
}

export function readShell(statement: Statement, problems: Problems): Shell {
  new Flags(statement, {}, problems);
  const words = readJsonArray(statement.rest);
  const span = argumentsSpan(statement);
  const hint = 'for example SHELL ["/bin/bash", "-c"]';
  if (words === undefined && statement.rest.text !== "") {
    fail("shell", "SHELL requires the arguments to be in JSON form", span, hint);
  }
  if (words === undefined || words.length === 0) {
    fail("arguments", "SHELL requires at least one argument", span, hint);
  }
  return { ...common("SHELL", statement), argv: words.map(({ text }) => text) };
}

const HEALTHCHECK_FLAGS = {
  interval: "string",
  timeout: "string",
  "start-period": "string",
  "start-interval": "string",
  retries: "string",
} as const;

export function readHealthcheck(statement: Statement, problems: Problems): HealthcheckInstruction {
  const { rest } = statement;
  const base = common("HEALTHCHECK", statement);
  let end = 0;
  while (end < rest.text.length && !isSpace(rest.text.charAt(end))) end += 1;
  const type = cut(rest, 0, end);
  const after = cut(rest, skipSpaces(rest.text, end));
  const name = type.text.toUpperCase();
  if (name === "") {
    fail("arguments", "HEALTHCHECK requires at least one argument", argumentsSpan(statement));
  }
  if (name === "NONE") {
    if (after.text !== "") {
      fail("healthcheck", "HEALTHCHECK NONE takes no arguments", spanOf(after));
    }
    return { ...base, test: ["NONE"] };
  }
  // Behind NONE flags mean nothing, so they are not looked at, as in BuildKit.
  const flags = new Flags(statement, HEALTHCHECK_FLAGS, problems);
  if (name !== "CMD") {
    fail("healthcheck", `Unknown type ${quote(name)} in HEALTHCHECK (try CMD)`, spanOf(type));
  }
  const command = readCommand(after);
  if (command.form === "exec" ? command.argv.length === 0 : command.text === "") {
    fail("healthcheck", "Missing command after HEALTHCHECK CMD", spanOf(type));
  }
  const duration = (flag: string): number | undefined =>
    problems.attempt(() => readInterval(flag, flags.word(flag)));
  return {
    ...base,
    test: command.form === "exec" ? ["CMD", ...command.argv] : ["CMD-SHELL", command.text],
    ...present({
      interval: duration("interval"),
      timeout: duration("timeout"),
      startPeriod: duration("start-period"),
      startInterval: duration("start-interval"),
      retries: problems.attempt(() => readRetries(flags.word("retries"))),
    }),
  };
}

const MILLISECOND = 1_000_000n; // nanoseconds

/** Nanoseconds; undefined for none or 0, which mean the same. */
function readInterval(name: string, flag: Flag<Word> | undefined): number | undefined {
  if (flag === undefined || flag.value.text === "") return undefined;
  const nanoseconds = durationAt(flag);
  if (nanoseconds !== 0n && nanoseconds < MILLISECOND) {
    fail("healthcheck", `Interval ${quote(name)} cannot be less than 1ms`, flag.value.span);
  }
  return nanoseconds === 0n ? undefined : Number(nanoseconds);
}

function durationAt(flag: Flag<Word>): bigint {
  try {
    return parseDuration(flag.value.text);
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
    const hint = "a duration such as 30s, 1m30s or 500ms";
    fail("duration", error.message, flag.value.span, hint);
  }
}

const MAX_INT32 = 0x7fff_ffff;

function readRetries(flag: Flag<Word> | undefined): number | undefined {
  if (flag === undefined || flag.value.text === "") return undefined;
  const { text, span } = flag.value;
  const value = /^[-+]?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || Math.abs(value) > MAX_INT32) {
    const why = Number.isNaN(value) ? "invalid syntax" : "value out of range";
    fail("healthcheck", `invalid value for --retries: ${quote(text)}: ${why}`, span);
  }
  if (value < 0) fail("healthcheck", `--retries cannot be negative (${value})`, span);
  return value === 0 ? undefined : value;
}
