import type { BuildOptions } from "../index.js";
import { UsageError } from "./usage-error.js";

type Environment = Readonly<Record<string, string | undefined>>;
type Secrets = NonNullable<BuildOptions["secrets"]>;

/**
 * buildx's `id=ID[,src=FILE][,env=NAME][,type=file|env]`. Without a source a variable of the id's name is taken, else a
 * file of that name. @throws UsageError
 */
export function secrets(given: readonly string[], environment: Environment): Secrets {
  const found = new Map<string, Secrets[string]>();
  for (const text of given) {
    const fields = readFields(text);
    const id = fields.get("id") ?? fields.get("src") ?? fields.get("env");
    if (id === undefined || id === "") throw wrong(text, "it has no id");
    if (found.has(id)) throw wrong(text, `there is another secret with the id ${id}`);
    found.set(id, sourceOf(id, fields, environment, text));
  }
  return Object.fromEntries(found);
}

const NAMES: Readonly<Record<string, string>> = { source: "src" };
const KNOWN: ReadonlySet<string> = new Set(["id", "src", "env", "type"]);

function readFields(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const field of text.split(",")) {
    const equals = field.indexOf("=");
    if (equals < 0) throw wrong(text, `"${field}" is not name=value`);
    const written = field.slice(0, equals).toLowerCase();
    const name = NAMES[written] ?? written;
    if (!KNOWN.has(name)) throw wrong(text, `it has an unknown field "${written}"`);
    fields.set(name, field.slice(equals + 1));
  }
  return fields;
}

function sourceOf(
  id: string,
  fields: ReadonlyMap<string, string>,
  environment: Environment,
  text: string,
): Secrets[string] {
  const type = fields.get("type");
  const file = fields.get("src");
  const env = fields.get("env");
  if (type !== undefined && type !== "file" && type !== "env") {
    throw wrong(text, `its type is "${type}"`);
  }
  if (type === "env") return { env: env ?? file ?? id };
  if (file !== undefined) return { file };
  if (env !== undefined) return { env };
  return type !== "file" && environment[id] !== undefined ? { env: id } : { file: id };
}

type SshAgents = NonNullable<BuildOptions["sshAgents"]>;

/**
 * buildx's `id[=SOCKET|KEYFILE[,KEYFILE…]][,raw=true]`; without a path the environment's agent is meant. @throws UsageError
 */
export function sshAgents(given: readonly string[], environment: Environment): SshAgents {
  const found = new Map<string, SshAgents[string]>();
  for (const text of given) {
    const [first = "", ...more] = text.split(",");
    const equals = first.indexOf("=");
    const id = (equals < 0 ? first : first.slice(0, equals)) || "default";
    if (found.has(id)) throw new UsageError(`--ssh ${text}: there is another agent for ${id}`);
    const named = equals < 0 ? [] : [first.slice(equals + 1)];
    const isRaw = more.map((field) => /^raw=(.*)$/i.exec(field)?.[1]);
    const paths = [...named, ...more.filter((_, at) => isRaw[at] === undefined)].filter(Boolean);
    const raw = isRaw.findLast((value) => value !== undefined) ?? "false";
    if (raw !== "true" && raw !== "false") {
      throw new UsageError(`--ssh ${text}: raw is true or false, not "${raw}"`);
    }
    if (paths.length === 0) paths.push(environmentAgent(text, environment));
    const [path = ""] = paths;
    if (raw === "true" && paths.length > 1) {
      throw new UsageError(`--ssh ${text}: raw takes one socket`);
    }
    found.set(id, raw === "true" ? { raw: path } : paths);
  }
  return Object.fromEntries(found);
}

function environmentAgent(text: string, environment: Environment): string {
  const socket = environment["SSH_AUTH_SOCK"];
  if (socket !== undefined && socket !== "") return socket;
  throw new UsageError(
    `--ssh ${text}: no agent is running here`,
    "start ssh-agent, or name its socket with --ssh ID=SOCKET, or a private key with --ssh ID=KEYFILE",
  );
}

function wrong(text: string, why: string): UsageError {
  // The text itself names files and variables only, never a secret's content.
  return new UsageError(`--secret "${text}": ${why}`, "expected id=ID[,src=FILE|env=NAME]");
}
