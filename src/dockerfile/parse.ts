import { TsbuildError } from "../errors.js";
import { fail, Problems, raising, wholeText } from "./diagnostic.js";
import { type Fragment, fragmentOf } from "./fragment.js";
import { takeHeredocs, withBodies } from "./heredoc.js";
import { common } from "./instructions/base.js";
import { nearestKeyword, readInstruction } from "./instructions/read.js";
import { checkTrigger, onbuildTrigger } from "./instructions/simple.js";
import { Flags } from "./flags.js";
import { lintFile } from "./lint/index.js";
import { keywordOf } from "./lint/report.js";
import { Lines, type LogicalLine } from "./lines.js";
import { splitStatement, type Statement } from "./statement.js";
import type {
  Arg,
  Dockerfile,
  EscapeToken,
  From,
  Heredoc,
  Instruction,
  Onbuild,
  SourceFile,
  Span,
  Stage,
} from "./types.js";
import { isJsonArray } from "./words.js";
import { parseCheck } from "./check.js";

export interface ParseOptions {
  /** Takes the place of the `check` directive (build argument BUILDKIT_DOCKERFILE_CHECK). */
  readonly check?: string;
}

/** Reading ends after these: what has so many errors is no Dockerfile. */
const MAX_ERRORS = 1_000;

/** What is wrong with a trigger in these ways is an error where it is written; all else only where it is run, as in BuildKit. */
const READ_AT_ONCE: ReadonlySet<string> = new Set(["json-array", "pairs"]);

type Body = Exclude<Instruction, From>;

/** Reads lines into instructions, going on after an error. */
class FileReader {
  readonly problems = new Problems();
  readonly lines: Lines;
  /** The first blank line of each instruction that has any. */
  readonly blanks: Span[] = [];

  constructor(file: SourceFile) {
    this.lines = new Lines(file, this.problems);
  }

  /** Every instruction of the file; undefined for one that cannot be read. */
  *instructions(): Generator<Instruction | undefined> {
    while (this.problems.errors.length < MAX_ERRORS) {
      const line = this.problems.attempt(() => this.lines.next() ?? "end");
      if (line === undefined || line === "end") return;
      const blank = line.blanks[0];
      if (blank !== undefined) this.blanks.push(blank);
      const before = this.problems.errors.length;
      const instruction = this.problems.attempt(() => this.#read(line));
      yield this.problems.errors.length > before ? undefined : instruction;
    }
  }

  #read(line: LogicalLine): Instruction {
    const { escape } = this.lines.reader;
    const parts = splitStatement(fragmentOf(line), escape);
    const { comments } = line;
    const keyword = nearestKeyword(parts.keyword.text);
    const isExact = keyword === parts.keyword.text.toUpperCase();
    if (isExact && keyword === "ONBUILD")
      return this.#onbuild({ ...parts, comments, heredocs: [] });
    const heredocs = this.#heredocs(keyword, parts.rest, isExact);
    return readInstruction({ ...parts, comments, heredocs }, this.problems);
  }

  /** A misspelt RUN, too, keeps its heredoc: its body would otherwise be read as instructions. */
  #heredocs(keyword: string | undefined, rest: Fragment, isExact: boolean): readonly Heredoc[] {
    if (keyword !== "RUN" && keyword !== "COPY" && keyword !== "ADD") return [];
    if (isJsonArray(rest.text)) return [];
    const position = this.lines.position;
    try {
      return takeHeredocs(rest, this.lines);
    } catch (error) {
      if (isExact) throw error;
      this.lines.rewind(position);
      return [];
    }
  }

  #onbuild(statement: Statement): Onbuild {
    new Flags(statement, {}, this.problems);
    const inner = splitStatement(statement.rest, statement.escape);
    checkTrigger(inner.keyword.text, statement);
    const keyword = inner.keyword.text.toUpperCase();
    const heredocs = this.#heredocs(keyword, inner.rest, true);
    const own = new Problems();
    own.attempt(() => readInstruction({ ...inner, comments: [], heredocs }, own));
    for (const { message, span, code, hint } of own.errors) {
      if (READ_AT_ONCE.has(code)) this.problems.error(code, message, span, hint);
      else
        this.problems.warn(
          "InvalidOnbuildTrigger",
          `ONBUILD trigger is not valid: ${message}`,
          span,
        );
    }
    const trigger = withBodies(onbuildTrigger(statement), heredocs);
    return { ...common("ONBUILD", statement), trigger };
  }
}

/** Sorts instructions into global ARGs and stages. */
class Assembler {
  readonly globals: Arg[] = [];
  readonly stages: { from: From; instructions: Body[] }[] = [];
  readonly #problems: Problems;
  #orphan = false;

  constructor(problems: Problems) {
    this.#problems = problems;
  }

  add(instruction: Instruction | undefined): void {
    // What cannot be read may have been the FROM that the next ones belong to.
    if (instruction === undefined) this.#orphan = true;
    else if (instruction.kind === "FROM") this.stages.push({ from: instruction, instructions: [] });
    else if (this.stages.length > 0) this.stages.at(-1)?.instructions.push(instruction);
    else if (instruction.kind === "ARG") this.globals.push(instruction);
    else if (!this.#orphan) {
      this.#orphan = true;
      const { kind } = instruction;
      const end = instruction.span.start + keywordOf(instruction).length;
      const span = { ...instruction.span, end };
      const hint = "begin the Dockerfile with FROM; only ARG may stand before it";
      this.#problems.error("no-stage", `no build stage in current context: ${kind}`, span, hint);
    }
  }

  finish(): readonly Stage[] {
    return this.stages.map(({ from, instructions }, index) => ({
      index,
      name: from.as,
      from,
      instructions,
    }));
  }
}

/**
 * Reads a Dockerfile: every instruction with its flags, checked, but no variable expanded.
 * @throws DockerfileError with everything that is wrong with it
 */
export function parseDockerfile(file: SourceFile, options: ParseOptions = {}): Dockerfile {
  return raising(() => parse(file, options));
}

function parse(file: SourceFile, options: ParseOptions): Dockerfile {
  const top: Span = { file, start: 0, end: 0 };
  if (file.text === "") fail("empty", "the Dockerfile cannot be empty", top);
  const reader = new FileReader(file);
  const { problems, lines } = reader;
  const assembler = new Assembler(problems);
  let count = 0;
  for (const instruction of reader.instructions()) {
    count += 1;
    assembler.add(instruction);
  }
  const { check: given } = options;
  const check = given === undefined ? lines.reader.check : parseCheck(given);
  problems.throwAny();
  if (count === 0) fail("empty", "file with no instructions", top, "a Dockerfile begins with FROM");
  const stages = assembler.finish();
  const { globals } = assembler;
  if (stages.length === 0) {
    const span = globals[0]?.span ?? top;
    fail("no-stage", "dockerfile contains no stages to build", span, "add a FROM");
  }
  const { directives, escape } = lines.reader;
  const parsed = { file, directives, escape, globals, stages, check };
  const warnings = lintFile(parsed, reader.blanks, problems.warnings);
  return { ...parsed, warnings };
}

/**
 * Reads one ONBUILD trigger out of an image's config. Its escape character is the backslash whatever the Dockerfile that
 * left it had.
 * @throws DockerfileError, whose places are in the trigger's own text under `name`
 */
export function parseTrigger(text: string, name: string, escape: EscapeToken = "\\"): Body {
  const problems = new Problems();
  const trigger = readTrigger(text, name, problems, escape);
  problems.throwAny();
  if (trigger === undefined) throw new TsbuildError("INTERNAL", "a trigger was lost");
  return trigger;
}

/** `parseTrigger` for this room, which reports what is wrong. */
export function readTrigger(
  text: string,
  name: string,
  problems: Problems,
  escape: EscapeToken = "\\",
): Body | undefined {
  const prefix = escape === "\\" ? "" : `# escape=${escape}\n`;
  const reader = new FileReader({ path: name, text: prefix + text });
  const [instruction, ...more] = reader.instructions();
  problems.errors.push(...reader.problems.errors);
  if (reader.problems.errors.length > 0) return undefined;
  return problems.attempt(() => {
    const span = instruction?.span ?? wholeText(text, name);
    if (instruction === undefined || more.length > 0) {
      fail("onbuild", "onbuild trigger should be a single expression", span);
    }
    if (instruction.kind === "FROM" || instruction.kind === "MAINTAINER") {
      fail("onbuild", `${instruction.kind} isn't allowed as an ONBUILD trigger`, span);
    }
    if (instruction.kind === "ONBUILD") {
      fail("onbuild", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", span);
    }
    return instruction;
  });
}
