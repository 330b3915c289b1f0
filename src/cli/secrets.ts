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

/** `default` is the environment's agent; `id=socket` another. @throws UsageError */
export function sshAgents(
  given: readonly string[],
  environment: Environment,
): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const equals = text.indexOf("=");
      const id = equals < 0 ? text : text.slice(0, equals);
      const socket = equals < 0 ? environment["SSH_AUTH_SOCK"] : text.slice(equals + 1);
      if (socket !== undefined && socket !== "") return [id, socket];
      throw new UsageError(
        `--ssh ${text}: no agent is running here`,
        "start ssh-agent, or name its socket with --ssh ID=SOCKET",
      );
    }),
  );
}

function wrong(text: string, why: string): UsageError {
  // The text itself names files and variables only, never a secret's content.
  return new UsageError(`--secret "${text}": ${why}`, "expected id=ID[,src=FILE|env=NAME]");
}
