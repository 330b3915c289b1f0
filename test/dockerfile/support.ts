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
