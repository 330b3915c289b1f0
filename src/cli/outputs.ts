import type { Output } from "../index.js";
import { readFields, readSwitch, wrong, type Fields } from "./output-fields.js";
import { isImageField } from "./output-image.js";
import { UsageError } from "./usage-error.js";

/** What `-` is to the library. */
export const STDOUT = "/dev/stdout";
/** Fields of each type, beside `type` and what concerns the image itself. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  local: ["dest", "platform-split"],
  tar: ["dest", "platform-split"],
  oci: ["dest", "tar", "name"],
  docker: ["dest", "tar", "name"],
  image: ["name", "push", "push-by-digest"],
  registry: ["name", "push", "push-by-digest"],
};
const NO_DAEMON = "there is no daemon whose store could take the image";
const NAME_FILE = "use --image-name-with-digest-file";
/** BuildKit's fields that are refused, with what to do instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  push: "only type=image and type=registry push: give one of them beside it",
  "registry.insecure": "use --insecure-registry=HOST",
  "source-date-epoch": "use --build-arg SOURCE_DATE_EPOCH=SECONDS",
  unpack: NO_DAEMON,
  store: NO_DAEMON,
  "name-canonical": NAME_FILE,
  "dangling-name-prefix": NAME_FILE,
};

/** buildx's `--output`: `type=…,dest=…`, a directory, or `-` for a tar on standard output. @throws UsageError */
export function outputs(given: readonly string[]): readonly Output[] {
  const all = given.map(readOutput);
  const toStdout = all.filter((output) => "dest" in output && output.dest === STDOUT);
  if (toStdout.length < 2) return all;
  throw new UsageError("standard output takes one --output", "name files for the others");
}

function readOutput(text: string): Output {
  if (text === "-") return { type: "tar", dest: STDOUT };
  if (text === "") throw wrong(text, "it is empty");
  if (!/[=,]/.test(text)) return { type: "local", dest: text };
  const fields = readFields(text);
  const type = fields.get("type");
  if (type === undefined) throw wrong(text, "it has no type");
  const known = Object.hasOwn(FIELDS, type) ? FIELDS[type] : undefined;
  if (known === undefined) {
    throw wrong(
      text,
      `unknown type "${type}"`,
      `expected one of ${Object.keys(FIELDS).join(", ")}`,
    );
  }
  const isFiles = type === "local" || type === "tar";
  for (const name of fields.keys()) {
    if (name === "type" || known.includes(name) || (!isFiles && isImageField(name))) continue;
    throw wrong(text, `type ${type} has no field "${name}"`, INSTEAD[name]);
  }
  return outputOf(type, fields, text);
}

function outputOf(type: string, fields: Fields, text: string): Output {
  switch (type) {
    case "local":
    case "tar":
      return { type, dest: destOf(fields, text, type === "local"), ...split(fields, text) };
    case "docker":
      if (readSwitch(text, fields, "tar") === false) {
        throw wrong(text, "docker load reads no directory", "use type=oci,tar=false");
      }
      return { type, dest: destOf(fields, text, false), ...namesOf(fields, text) };
    case "oci": {
      const tar = readSwitch(text, fields, "tar") ?? true;
      return { type, dest: destOf(fields, text, !tar), tar, ...namesOf(fields, text) };
    }
    default:
      return imageOf(type, fields, text);
  }
}

function imageOf(type: string, fields: Fields, text: string): Output {
  const { names = [] } = namesOf(fields, text);
  const push = readSwitch(text, fields, "push") ?? type === "registry";
  if (readSwitch(text, fields, "push-by-digest") !== true) return { type: "image", names, push };
  if (names.length > 0) return { type: "image", names, push, byDigest: true };
  throw wrong(text, "push-by-digest needs a name", "add name=REPOSITORY");
}

function destOf(fields: Fields, text: string, isDirectory: boolean): string {
  const value = fields.get("dest") ?? "";
  if (value === "") throw wrong(text, "it has no dest");
  if (value !== "-") return value;
  if (isDirectory) throw wrong(text, "a directory cannot be written to a pipe");
  return STDOUT;
}

function split(fields: Fields, text: string): { readonly platformSplit?: boolean } {
  const platformSplit = readSwitch(text, fields, "platform-split");
  return platformSplit === undefined ? {} : { platformSplit };
}

/** Several are separated by commas, the field being in quotes. */
function namesOf(fields: Fields, text: string): { readonly names?: readonly string[] } {
  const value = fields.get("name");
  if (value === undefined) return {};
  const names = value.split(",").map((name) => name.trim());
  if (names.includes("") && value !== "") throw wrong(text, "one of its names is empty");
  return { names: names.filter(Boolean) };
}
