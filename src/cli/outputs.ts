import type { Output } from "../index.js";
import { UsageError } from "./usage-error.js";

/** What `-` is to the library. */
export const STDOUT = "/dev/stdout";
/** Concerns the image, and so every output. */
const REWRITE = "rewrite-timestamp";
/** Fields of each type beside `type`. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  local: ["dest"],
  tar: ["dest"],
  oci: ["dest", "tar", REWRITE],
  docker: ["dest", REWRITE],
  image: ["name", "push", REWRITE],
  registry: ["name", REWRITE],
};
/** buildx's fields that are flags here. */
const FLAGS: Readonly<Record<string, string>> = {
  compression: "--compression",
  "compression-level": "--compression-level",
  "oci-mediatypes": "--image-format",
};
const TRUE: ReadonlySet<string> = new Set(["1", "t", "T", "true", "TRUE", "True"]);
const FALSE: ReadonlySet<string> = new Set(["0", "f", "F", "false", "FALSE", "False"]);

/** buildx's `--output`: `type=…,dest=…`, a directory, or `-` for a tar on standard output. @throws UsageError */
export function outputs(given: readonly string[]): readonly Output[] {
  const all = given.map(readOutput);
  const toStdout = all.filter((output) => "dest" in output && output.dest === STDOUT);
  if (toStdout.length < 2) return all;
  throw new UsageError("standard output takes one --output", "name files for the others");
}

/** Whether one of them asks for `rewrite-timestamp`. @throws UsageError */
export function rewritesTimestamps(given: readonly string[]): boolean {
  return given
    .filter((text) => /[=,]/.test(text))
    .some((text) => readSwitch(text, readFields(text), REWRITE) ?? false);
}

function readOutput(text: string): Output {
  if (text === "-") return { type: "tar", dest: STDOUT };
  if (text === "") throw wrong(text, "it is empty");
  if (!/[=,]/.test(text)) return { type: "local", dest: text };
  const fields = readFields(text);
  const type = fields.get("type");
  if (type === undefined) throw wrong(text, "it has no type");
  const known = FIELDS[type];
  if (known === undefined) {
    throw wrong(
      text,
      `unknown type "${type}"`,
      `expected one of ${Object.keys(FIELDS).join(", ")}`,
    );
  }
  for (const name of fields.keys()) {
    if (name !== "type" && !known.includes(name)) throw unknownField(text, type, name);
  }
  return outputOf(type, fields, text);
}

function outputOf(type: string, fields: ReadonlyMap<string, string>, text: string): Output {
  const dest = (): string => {
    const value = fields.get("dest") ?? "";
    if (value === "") throw wrong(text, "it has no dest");
    return value === "-" ? STDOUT : value;
  };
  switch (type) {
    case "local": {
      if (fields.get("dest") === "-") throw wrong(text, "a directory cannot be written to a pipe");
      return { type, dest: dest() };
    }
    case "tar":
    case "docker":
      return { type, dest: dest() };
    case "oci": {
      const tar = readSwitch(text, fields, "tar") ?? true;
      if (!tar && fields.get("dest") === "-") {
        throw wrong(text, "a directory cannot be written to a pipe");
      }
      return { type, dest: dest(), tar };
    }
    default: {
      const names = (fields.get("name") ?? "").split(",").filter(Boolean);
      const push = type === "registry" || (readSwitch(text, fields, "push") ?? false);
      return { type: "image", names, push };
    }
  }
}

function readSwitch(
  text: string,
  fields: ReadonlyMap<string, string>,
  name: string,
): boolean | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  if (TRUE.has(value)) return true;
  if (FALSE.has(value)) return false;
  throw wrong(text, `${name} is true or false, not "${value}"`);
}

/** One CSV record of `name=value`: a field in double quotes may hold commas. */
function readFields(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const field of splitRecord(text)) {
    const equals = field.indexOf("=");
    if (equals <= 0) throw wrong(text, `"${field}" is not name=value`);
    const name = field.slice(0, equals).trim().toLowerCase();
    if (fields.has(name)) throw wrong(text, `${name} is given twice`);
    fields.set(name, field.slice(equals + 1));
  }
  return fields;
}

function splitRecord(text: string): readonly string[] {
  const fields: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y;
  for (;;) {
    const match = field.exec(text);
    if (match === null) throw wrong(text, "its quotes do not match");
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
    if (match[3] === "") return fields;
  }
}

function unknownField(text: string, type: string, name: string): UsageError {
  const flag = FLAGS[name] ?? (name.startsWith("annotation") ? "--annotation" : undefined);
  return wrong(
    text,
    `type ${type} has no field "${name}"`,
    flag === undefined ? undefined : `use ${flag}`,
  );
}

function wrong(text: string, why: string, hint?: string): UsageError {
  return new UsageError(
    `--output "${text}": ${why}`,
    hint ??
      "expected type=local|tar|oci|docker,dest=PATH, type=image|registry,name=REF, a directory, or -",
  );
}
