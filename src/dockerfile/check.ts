import { parseBool } from "./go-values.js";
import { Fault, fail, raising, wholeText } from "./diagnostic.js";
import { trimSpaces } from "../internal/go-spaces.js";
import type { CheckOptions, Diagnostic, Span } from "./types.js";

/** Rules that only run when the check options ask for them. */
const EXPERIMENTAL: ReadonlySet<string> = new Set(["InvalidDefinitionDescription"]);
const COMMENT = /^check[\t\n\f\r ]*=[\t\n\f\r ]*(.+)$/is;

/** All rules on but the experimental ones, and none of them an error. */
export const NO_CHECK: CheckOptions = { skip: new Set(), experimental: new Set(), error: false };

function names(value: string): ReadonlySet<string> | "all" {
  const text = trimSpaces(value);
  return text === "all" ? "all" : new Set(text.split(",").map(trimSpaces));
}

/**
 * Reads what stands behind `check=`: `skip=<rules or all>`, `error=<bool>`, `experimental=<rules or all>`, joined by `;`.
 * @throws DockerfileError
 */
export function parseCheck(text: string): CheckOptions {
  return raising(() => readCheck(text, wholeText(text, "check")));
}

/** `parseCheck` for this room. @throws Fault */
export function readCheck(text: string, span: Span): CheckOptions {
  let skip: CheckOptions["skip"] = new Set();
  let experimental: CheckOptions["experimental"] = new Set();
  let error = false;
  const refuse = (option: string): never =>
    fail("check", `failed to parse check options: invalid check option "${option}"`, span);
  const trimmed = trimSpaces(text);
  for (const part of trimmed === "" ? [] : splitOptions(trimmed)) {
    const equals = part.indexOf("=");
    if (equals < 0) refuse(part);
    const value = part.slice(equals + 1);
    const key = trimSpaces(part.slice(0, equals));
    if (key === "skip") skip = names(value);
    else if (key === "experimental") experimental = names(value);
    else if (key === "error") error = parseBool(trimSpaces(value)) ?? refuse(part);
    else refuse(key);
  }
  return { skip, experimental, error };
}

/** At most three, of which the last one keeps any further `;`. */
function splitOptions(text: string): readonly string[] {
  const [first = "", second, ...rest] = text.split(";");
  if (second === undefined) return [first];
  return rest.length === 0 ? [first, second] : [first, second, rest.join(";")];
}

/** Whether a rule is on for an instruction with these comments above it. */
export function ruleIsOn(rule: string, check: CheckOptions, comments: readonly string[]): boolean {
  let skip = has(check.skip, rule);
  let experimental = has(check.experimental, rule);
  for (const comment of comments) {
    const value = COMMENT.exec(comment)?.[1];
    if (value === undefined) continue;
    const local = tryCheck(value.split(" ")[0] ?? "");
    if (local === undefined) break;
    skip ||= has(local.skip, rule);
    experimental ||= has(local.experimental, rule);
    break;
  }
  return EXPERIMENTAL.has(rule) ? experimental : !skip;
}

function has(rules: ReadonlySet<string> | "all", rule: string): boolean {
  return rules === "all" || rules.has(rule);
}

/** A comment above an instruction may say `check=` and mean something else. */
function tryCheck(text: string): CheckOptions | undefined {
  try {
    return readCheck(text, wholeText(text, "check"));
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

/** What `check=error=true` makes of warnings: the message of the failure, or nothing. */
export function lintViolation(
  warnings: readonly Diagnostic[],
  check: CheckOptions,
): string | undefined {
  if (!check.error || warnings.length === 0) return undefined;
  const rules = [...new Set(warnings.map(({ code }) => code))].toSorted();
  return `lint violation found for rules: ${rules.join(", ")}`;
}
