import { readCsv } from "../csv.js";
import { Fault, fail, type Problems, raising } from "../diagnostic.js";
import { expand } from "../expand.js";
import { present } from "../flags.js";
import { type Fragment, cut, fragmentOf, spanOf, wordOf } from "../fragment.js";
import { parseBool, parseSize, parseUint32, quote } from "../go-values.js";
import { closest, didYouMean } from "../suggest.js";
import type { Mount, ResolvedMount, RunMount, Scope, Span, Word } from "../types.js";

const TYPES = ["bind", "cache", "tmpfs", "secret", "ssh"] as const;
const SHARING = ["shared", "private", "locked"] as const;
type MountType = (typeof TYPES)[number];

/** Other names of a key. */
const ALIASES: Readonly<Record<string, string>> = {
  src: "source",
  dst: "target",
  destination: "target",
  ro: "readonly",
  rw: "readwrite",
};
/** Keys that mean true without a value. */
const BARE: ReadonlySet<string> = new Set(["readonly", "readwrite", "required"]);
const KEYS: readonly string[] =
  "type from source target readonly id sharing required size mode uid gid src dst destination ro rw readwrite env".split(
    " ",
  );
/** Keys that take part in each type; others BuildKit reads and then does not use. */
const USED: Readonly<Record<MountType, readonly string[]>> = {
  bind: ["from", "source", "readonly", "readwrite"],
  cache: ["id", "sharing", "from", "source", "readonly", "readwrite", "uid", "gid", "mode"],
  tmpfs: ["size"],
  secret: ["id", "source", "env", "required", "uid", "gid", "mode"],
  ssh: ["id", "source", "required", "uid", "gid", "mode"],
};

interface Field<V> {
  /** As written, in lower case. */
  readonly key: string;
  readonly value: V;
  /** The value as far as it is known: undefined while it waits for a variable. */
  readonly text: string | undefined;
  /** The whole field. */
  readonly source: Fragment;
}

type Fields<V> = ReadonlyMap<string, Field<V>>;

/** Reads `--mount`'s list; what holds variables is checked when they are known. @throws Fault */
export function readMount(list: Fragment, span: Span, problems: Problems): RunMount {
  const fields = new Map<string, Field<Word>>();
  for (const source of readCsv(list, "mounts")) {
    const { key, value } = splitField(source);
    const word = value === undefined ? wordOf(cut(source, source.text.length)) : wordOf(value);
    const isLiteral = key === "from" || !/[$'"\\`]/.test(word.text);
    if (value !== undefined && key === "from") checkFrom(source, word.text);
    const text = value === undefined ? "true" : word.text;
    const name = ALIASES[key] ?? key;
    fields.set(name, { key, value: word, text: isLiteral ? text : undefined, source });
  }
  const mount = build(fields, { span, spec: wordOf(list) });
  reportUnused(mount.type, fields, problems);
  return mount;
}

/**
 * Expands a mount's values and checks what could not be checked before.
 * @throws DockerfileError
 */
export function expandMount(mount: RunMount, scope: Scope): ResolvedMount {
  const { spec, span } = mount;
  const { file, start, end } = spec.span;
  const list = fragmentOf({ file, text: spec.text, pieces: [{ at: 0, source: start }] });
  // Only where no quotes were taken off are places within the list places in the file.
  const isExact = file.text.slice(start, end) === spec.text;
  return raising(() => {
    try {
      return expandFields(list, mount, scope);
    } catch (error) {
      throw error instanceof Fault && !isExact ? new Fault({ ...error.diagnostic, span }) : error;
    }
  });
}

function expandFields(list: Fragment, { span, spec }: RunMount, scope: Scope): ResolvedMount {
  const fields = new Map<string, Field<string>>();
  for (const source of readCsv(list, "mounts")) {
    const { key, value } = splitField(source);
    const literal = value?.text ?? "true";
    const isFixed = value === undefined || key === "from";
    const word = { text: literal, span: spanOf(source) };
    const expanded = isFixed ? literal : expand(word, scope).value;
    fields.set(ALIASES[key] ?? key, { key, value: expanded, text: expanded, source });
  }
  const mount = build(fields, { span, spec });
  const source = fields.get("source");
  if (mount.type === "ssh" && source !== undefined && source.value !== "") {
    fail("mount", "ssh does not support source", spanOf(source.source), "name the agent: id=NAME");
  }
  return mount;
}

function splitField(field: Fragment): {
  readonly key: string;
  readonly value: Fragment | undefined;
} {
  const equals = field.text.indexOf("=");
  const key = (equals < 0 ? field.text : field.text.slice(0, equals)).toLowerCase();
  const name = ALIASES[key] ?? key;
  if (!KEYS.includes(name)) {
    if (equals < 0) {
      fail("mount", `invalid field '${field.text}' must be a key=value pair`, spanOf(field));
    }
    const message = `unexpected key '${key}' in '${field.text}'${didYouMean(key, KEYS)}`;
    fail("mount", message, spanOf(field));
  }
  if (equals < 0 && !BARE.has(name)) {
    const message = `invalid field '${field.text}' must be a key=value pair`;
    fail("mount", message, spanOf(field));
  }
  return { key, value: equals < 0 ? undefined : cut(field, equals + 1) };
}

function checkFrom(field: Fragment, value: string): void {
  const dollar = value.indexOf("$");
  if (dollar < 0 || dollar === value.length - 1) return;
  const message = "'from' doesn't support variable expansion, define alias stage instead";
  fail("mount", message, spanOf(field), `FROM ${value} AS alias, then from=alias`);
}

interface Place {
  readonly span: Span;
  readonly spec: Word;
}

function build<V>(fields: Fields<V>, place: Place): Mount<V> {
  const known = choose(fields.get("type"), TYPES, "unsupported mount type");
  const type = known ?? "bind";
  if (known !== undefined || !fields.has("type")) checkKeys(type, fields);
  const base = { ...place, ...present({ target: fields.get("target")?.value }) };
  const source = present({ source: fields.get("source")?.value });
  const from = fields.get("from")?.text ?? "";
  const origin = present({ from: from === "" ? undefined : from });
  switch (type) {
    case "bind":
      return { ...base, type, ...source, ...origin, readonly: isReadonly(fields, true) };
    case "cache":
      return {
        ...base,
        type,
        ...source,
        ...origin,
        ...present({ id: fields.get("id")?.value }),
        sharing: choose(fields.get("sharing"), SHARING, "unsupported sharing value") ?? "shared",
        readonly: isReadonly(fields, false),
        ...owner(fields),
      };
    case "tmpfs":
      return { ...base, type, ...present({ size: size(fields.get("size")) }) };
    case "secret":
      return {
        ...base,
        type,
        ...present({
          id: [fields.get("source"), fields.get("id")].find(isGiven)?.value,
          env: fields.get("env")?.text,
        }),
        required: flag(fields.get("required")) ?? false,
        ...owner(fields),
      };
    case "ssh":
      return {
        ...base,
        type,
        ...present({ id: fields.get("id")?.value }),
        required: flag(fields.get("required")) ?? false,
        ...owner(fields),
      };
  }
}

function isGiven<V>(field: Field<V> | undefined): boolean {
  return field !== undefined && field.text !== "";
}

/** The combinations that BuildKit refuses, in its words. */
function checkKeys<V>(type: MountType, fields: Fields<V>): void {
  const refuse = (name: string, message: string): void => {
    const field = fields.get(name);
    if (field !== undefined) fail("mount", message, spanOf(field.source));
  };
  if (type !== "secret" && type !== "ssh") {
    refuse("required", `unexpected key 'required' for mount type '${type}'`);
  }
  if (type !== "tmpfs") refuse("size", `unexpected key 'size' for mount type '${type}'`);
  if (type === "bind" || type === "tmpfs") {
    for (const name of ["mode", "uid", "gid"]) {
      refuse(name, `${name} not allowed for ${quote(type)} type mounts`);
    }
  }
  if (type === "secret") {
    if (fields.get("from")?.text !== "") refuse("from", "secret mount should not have a from");
    refuse("sharing", "secret mount should not define sharing");
    const id = ["source", "id"].filter((name) => isGiven(fields.get(name)));
    const isKnown = id.every((name) => fields.get(name)?.text !== undefined);
    if (id.length === 2 && isKnown) refuse("source", "both source and id can't be set");
    const target = fields.get("target");
    if (id.length === 0 && (target === undefined || target.text === "")) {
      const any = [...fields.values()][0]?.source;
      const message = "invalid secret mount. one of source, target required";
      if (any !== undefined) fail("mount", message, spanOf(any), "name the secret: id=NAME");
    }
  }
  if (type !== "cache") refuse("sharing", `invalid cache sharing set for ${type} mount`);
}

function reportUnused(type: MountType, fields: Fields<Word>, problems: Problems): void {
  if (fields.get("type")?.text === undefined && fields.has("type")) return;
  for (const [name, { key, source }] of fields) {
    if (name === "type" || name === "target" || USED[type].includes(name)) continue;
    problems.warn("MountOptionUnused", `${key} has no effect on a ${type} mount`, spanOf(source));
  }
}

function choose<V, T extends string>(
  field: Field<V> | undefined,
  options: readonly T[],
  message: string,
): T | undefined {
  if (field?.text === undefined) return undefined;
  const { text } = field;
  const found = options.find((option) => option === text.toLowerCase());
  if (found !== undefined) return found;
  const match = closest(text, options);
  const tail = match === undefined ? "" : ` (did you mean ${match}?)`;
  const hint = `one of ${options.join(", ")}`;
  fail("mount", `${message} ${quote(text)}${tail}`, spanOf(field.source), hint);
}

function flag<V>(field: Field<V> | undefined): boolean | undefined {
  if (field?.text === undefined) return undefined;
  return parseBool(field.text) ?? invalidValue(field);
}

function invalidValue<V>(field: Field<V>): never {
  fail("mount", `invalid value for ${field.key}: ${field.text ?? ""}`, spanOf(field.source));
}

/** The later of `readonly` and `readwrite` counts. */
function isReadonly<V>(fields: Fields<V>, otherwise: boolean): boolean {
  let result = otherwise;
  for (const [name, field] of fields) {
    const value = name === "readonly" || name === "readwrite" ? flag(field) : undefined;
    if (value !== undefined) result = name === "readonly" ? value : !value;
  }
  return result;
}

function size<V>(field: Field<V> | undefined): number | undefined {
  if (field?.text === undefined) return undefined;
  return parseSize(field.text) ?? invalidValue(field);
}

interface Owner {
  uid?: number;
  gid?: number;
  mode?: number;
}

function owner<V>(fields: Fields<V>): Owner {
  const result: Owner = {};
  for (const name of ["uid", "gid", "mode"] as const) {
    const field = fields.get(name);
    if (field?.text === undefined) continue;
    const value = parseUint32(field.text, name === "mode" ? 8 : 10);
    if (value === undefined) {
      fail("mount", `invalid value ${field.text} for ${name}`, spanOf(field.source));
    }
    result[name] = value;
  }
  return result;
}
