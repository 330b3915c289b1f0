import { booleanOf } from "./booleans.js";
import { UsageError } from "./usage-error.js";

/** The fields of one `--output`, or of another flag that is written like it, by their names. */
export type Fields = ReadonlyMap<string, string>;

const OUTPUT = "--output";

/**
 * One CSV record of `name=value`: a field in double quotes may hold commas. Names are read in any case, but for an
 * annotation's own. @throws UsageError
 */
export function readFields(text: string, flag: string = OUTPUT): Fields {
  const fields = new Map<string, string>();
  for (const field of splitRecord(text, flag)) {
    const equals = field.indexOf("=");
    if (equals <= 0) throw misspelled(flag, text, `"${field}" is not name=value`);
    const spelled = field.slice(0, equals).trim();
    const name = /^annotation/i.test(spelled)
      ? spelled.replace(/^[^.[]*/, (start) => start.toLowerCase())
      : spelled.toLowerCase();
    if (fields.has(name)) throw misspelled(flag, text, `${name} is given twice`);
    fields.set(name, field.slice(equals + 1));
  }
  return fields;
}

/** @throws UsageError */
export function readSwitch(
  text: string,
  fields: Fields,
  name: string,
  flag: string = OUTPUT,
): boolean | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  const known = booleanOf(value);
  if (known !== undefined) return known;
  throw misspelled(flag, text, `${name} is true or false, not "${value}"`);
}

/** What is wrong with an `--output`, which is repeated. */
export function wrong(text: string, why: string, hint?: string): UsageError {
  return new UsageError(
    `${OUTPUT} "${text}": ${why}`,
    hint ??
      "expected type=local|tar|oci|docker,dest=PATH, type=image|registry,name=REF, a directory, or -",
  );
}

function misspelled(flag: string, text: string, why: string): UsageError {
  return flag === OUTPUT ? wrong(text, why) : new UsageError(`${flag} "${text}": ${why}`);
}

function splitRecord(text: string, flag: string): readonly string[] {
  const fields: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y;
  for (;;) {
    const match = field.exec(text);
    if (match === null) throw misspelled(flag, text, "its quotes do not match");
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
    if (match[3] === "") return fields;
  }
}
