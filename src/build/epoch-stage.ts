import { DockerfileError, expandWord } from "../dockerfile/index.js";
import type { Add, Arg, Scope, Span, Stage } from "../dockerfile/types.js";

/** The only source of a stage that says when an image was made. */
export interface StageSource {
  readonly address: string;
  readonly checksum?: string;
  readonly keepGitDir?: boolean;
}

export interface StageScope {
  /** Global ARGs without SOURCE_DATE_EPOCH itself. */
  readonly globals: ReadonlyMap<string, string>;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly escape: Scope["escape"];
}

/**
 * What the stage adds. As BuildKit has it, such a stage begins with `FROM scratch`, and has ARGs and exactly one ADD of
 * something remote. @throws DockerfileError
 */
export function epochStageSource(stage: Stage, scope: StageScope): StageSource {
  const values = new Map(scope.globals);
  const within: Scope = { escape: scope.escape, get: (name) => values.get(name) };
  if (expandWord(stage.from.image, within).value !== "scratch") {
    throw refused("stage must use FROM scratch", stage.from.span);
  }
  let source: StageSource | undefined;
  for (const instruction of stage.instructions) {
    if (instruction.kind === "ARG") declare(instruction, values, scope, within);
    else if (instruction.kind !== "ADD") {
      const why = `unsupported ${instruction.kind} instruction`;
      throw refused(`stage does not meet source-only requirements: ${why}`, instruction.span);
    } else if (source !== undefined) {
      throw refused("stage must contain exactly one remote ADD", instruction.span);
    } else source = sourceOf(instruction, within);
  }
  if (source !== undefined) return source;
  throw refused("stage must contain exactly one remote ADD", stage.from.span);
}

function declare(
  { entries }: Arg,
  values: Map<string, string>,
  { buildArgs }: StageScope,
  within: Scope,
): void {
  for (const { name, value } of entries) {
    const given = buildArgs.get(name.text);
    if (given !== undefined) values.set(name.text, given);
    else if (value !== undefined) values.set(name.text, expandWord(value, within).value);
  }
}

function sourceOf(instruction: Add, within: Scope): StageSource {
  const [only, ...others] = instruction.sources;
  if (only?.kind !== "path" || others.length > 0) {
    throw refused("stage must contain exactly one remote ADD source", instruction.span);
  }
  const { checksum, keepGitDir } = instruction;
  return {
    address: expandWord(only.word, within).value,
    ...(checksum === undefined ? {} : { checksum: expandWord(checksum.value, within).value }),
    ...(keepGitDir === undefined ? {} : { keepGitDir: keepGitDir.value }),
  };
}

/** With the place in the stage. */
export function refused(why: string, span: Span): DockerfileError {
  const message = `SOURCE_DATE_EPOCH ${why}`;
  const hint = "the stage that it names is FROM scratch with one ADD of a git repository or a URL";
  return new DockerfileError([
    { severity: "error", code: "source-date-epoch", message, hint, span },
  ]);
}
