import {
  DockerfileError,
  type Dockerfile,
  type Instruction,
  parseDockerfile,
} from "../../src/dockerfile/index.js";

export function parse(text: string): Dockerfile {
  return parseDockerfile({ path: "Dockerfile", text });
}

/** The only instruction of a stage, read from its own lines. */
export function one<K extends Instruction["kind"]>(
  kind: K,
  lines: string,
  head = "",
): Extract<Instruction, { kind: K }> {
  const [stage] = parse(`${head}FROM scratch\n${lines}`).stages;
  const [instruction, ...more] = stage?.instructions ?? [];
  if (instruction?.kind !== kind || more.length > 0) {
    throw new Error(`expected one ${kind}, got ${stage?.instructions.map((i) => i.kind).join()}`);
  }
  return instruction as Extract<Instruction, { kind: K }>;
}

/** What is wrong with a text: `line:column message` of each diagnostic. */
export function errorsOf(read: () => unknown): readonly string[] {
  try {
    read();
  } catch (error) {
    if (!(error instanceof DockerfileError)) throw error;
    return error.message.split("\n\n").map((block) => {
      const [, place = "", message = ""] = /^[^:]*:(\d+:\d+): (.*)/.exec(block) ?? [];
      return `${place} ${message}`;
    });
  }
  return [];
}

/** What a Dockerfile says, without the places and the spelling. */
export function meaning(dockerfile: Dockerfile): unknown {
  const { directives, globals, stages, escape } = dockerfile;
  const values = Object.entries(directives).map(([key, flag]: [string, { value: string }]) => [
    key,
    flag.value,
  ]);
  return { escape, values, globals: bare(globals), stages: bare(stages) };
}

function bare(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(bare);
  if (typeof value !== "object" || value === null) return value;
  const isInstruction = "comments" in value;
  const dropped = new Set(isInstruction ? ["span", "text"] : ["span", "body"]);
  const kept = Object.entries(value).filter(([key]) => !dropped.has(key));
  return Object.fromEntries(kept.map(([key, part]) => [key, bare(part)]));
}
