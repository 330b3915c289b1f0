import { DockerfileParser, Copy as AstCopy, Healthcheck, JSONInstruction } from "dockerfile-ast";
import fc from "fast-check";
import { expect, test } from "vitest";
import { expandWord, locate, type Instruction, type Scope } from "../../src/dockerfile/index.js";
import { parse } from "./support.js";

/**
 * A second opinion from dockerfile-ast, on the part of the language that it reads as BuildKit does; what it does not is in
 * docs/decisions/own-dockerfile-reader.md.
 */
const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,6}$/);
const value = fc.stringMatching(/^[A-Za-z0-9_./:@-]{1,8}$/).filter((text) => !text.startsWith("-"));
const quoted = fc.oneof(
  value,
  fc.stringMatching(/^[a-z =#-]{0,8}$/).map((text) => `"${text}"`),
  fc.stringMatching(/^[a-z =#-]{0,8}$/).map((text) => `'${text}'`),
);
const variable = fc.oneof(
  name.map((n) => `$${n}`),
  name.map((n) => `\${${n}}`),
  fc.tuple(name, fc.constantFrom("-", "+", "?"), value).map(([n, m, v]) => `\${${n}:${m}${v}}`),
);
const pairs = fc.array(fc.tuple(name, quoted), { minLength: 1, maxLength: 4 });
const gap = fc.constantFrom(" ", "  ", "\t", " \\\n  ", " \\\n# why\n  ");
const keyword = (text: string): fc.Arbitrary<string> =>
  fc.constantFrom(text, text.toLowerCase(), text.slice(0, 1) + text.slice(1).toLowerCase());
const json = fc
  .array(fc.stringMatching(/^[a-z0-9/.-]{1,6}$/), { minLength: 2, maxLength: 4 })
  .map((list) => JSON.stringify(list));
const flags = fc
  .subarray(["--chown=1:2", "--chmod=755", "--link", "--from=x", "--exclude=a"])
  .map((list) => list.map((flag) => `${flag} `).join(""));

const line = fc.oneof(
  fc
    .tuple(keyword("ENV"), gap, pairs)
    .map(([k, g, p]) => k + g + p.map((x) => x.join("=")).join(" ")),
  fc
    .tuple(keyword("LABEL"), gap, pairs)
    .map(([k, g, p]) => k + g + p.map((x) => x.join("=")).join(g)),
  fc.tuple(keyword("ARG"), name, quoted).map(([k, n, v]) => `${k} ${n}=${v}`),
  fc.tuple(keyword("RUN"), gap, value, variable).map(([k, g, a, b]) => `${k}${g}${a}${g}${b}`),
  fc
    .tuple(keyword("COPY"), flags, value, gap, value)
    .map(([k, f, a, g, b]) => `${k} ${f}${a}${g}${b}`),
  fc.tuple(keyword("CMD"), json).map(([k, list]) => `${k} ${list}`),
  fc.tuple(keyword("VOLUME"), json).map(([k, list]) => `${k} ${list}`),
  fc.tuple(keyword("WORKDIR"), variable, value).map(([k, a, b]) => `${k} ${a}/${b}`),
  fc
    .tuple(name, fc.boolean(), fc.array(value, { maxLength: 3 }))
    .map(([n, tabs, body]) => [`RUN cat <<${tabs ? "-" : ""}${n}_`, ...body, `${n}_`].join("\n")),
  fc
    .tuple(name, fc.array(value, { maxLength: 3 }))
    .map(([n, body]) => [`COPY <<'${n}_' /x`, ...body, `${n}_`].join("\n")),
  fc.constantFrom("", "# a comment", "  # another"),
);
const dockerfiles = fc
  .tuple(fc.constantFrom("", "# escape=\\\n"), value, name, fc.array(line, { maxLength: 10 }))
  .map(([head, image, as, lines]) => `${head}FROM ${image} AS ${as}\n${lines.join("\n")}\n`);

const NOTHING: Scope = { escape: "\\", get: () => undefined };

/** What both can say of an instruction. */
interface Facts {
  readonly keyword: string;
  readonly line: number;
  readonly column: number;
  readonly details: unknown;
}

function ours(text: string): readonly Facts[] {
  const [stage] = parse(text).stages;
  const all: Instruction[] = stage === undefined ? [] : [stage.from, ...stage.instructions];
  return all.map((instruction) => {
    const { line: at, column } = locate(instruction.span);
    return { keyword: instruction.kind, line: at, column, details: ourDetails(instruction) };
  });
}

function ourDetails(instruction: Instruction): unknown {
  switch (instruction.kind) {
    case "FROM":
      return [instruction.image.text, instruction.as];
    case "ENV":
    case "LABEL":
    case "ARG":
      return instruction.entries.map((entry) => [
        entry.name.text,
        entry.value && expandWord(entry.value, NOTHING).value,
      ]);
    case "RUN":
      return instruction.heredocs.map((heredoc) => heredoc.name);
    case "COPY":
      return [
        [instruction.chown?.value.text, instruction.chmod?.value.text, instruction.from?.value],
        instruction.sources.map((source) =>
          source.kind === "path" ? source.word.text : source.heredoc.word,
        ),
        instruction.target.text,
      ];
    case "CMD":
      return instruction.command.form === "exec" ? instruction.command.argv : undefined;
    case "VOLUME":
      return instruction.paths.map((path) => path.text);
    case "WORKDIR":
      return instruction.path.text;
    case "ADD":
    case "ENTRYPOINT":
    case "EXPOSE":
    case "HEALTHCHECK":
    case "MAINTAINER":
    case "ONBUILD":
    case "SHELL":
    case "STOPSIGNAL":
    case "USER":
      throw new Error(`not generated: ${instruction.kind}`);
  }
}

type AstInstruction = ReturnType<
  ReturnType<typeof DockerfileParser.parse>["getInstructions"]
>[number];

function theirs(text: string): readonly Facts[] {
  return DockerfileParser.parse(text)
    .getInstructions()
    .map((instruction) => {
      const { start } = instruction.getRange();
      const kind = instruction.getKeyword();
      const details = theirDetails(kind, instruction);
      return { keyword: kind, line: start.line + 1, column: start.character + 1, details };
    });
}

function theirDetails(kind: string, instruction: AstInstruction): unknown {
  const args = instruction.getArguments().map((argument) => argument.getValue());
  switch (kind) {
    case "FROM":
      return [args[0], args[2]];
    case "RUN":
      return (instruction as AstCopy).getHeredocs().map((heredoc) => heredoc.getName());
    case "COPY": {
      const copy = instruction as AstCopy;
      const flag = (wanted: string): string | undefined =>
        copy
          .getFlags()
          .find((found) => found.getName() === wanted)
          ?.getValue() ?? undefined;
      const words = copy.getHeredocs().length > 0 ? args.slice(0, 2) : args;
      return [["chown", "chmod", "from"].map(flag), words.slice(0, -1), words.at(-1)];
    }
    case "CMD":
    case "VOLUME":
      return (instruction as JSONInstruction)
        .getJSONStrings()
        .map((string) => string.getJSONValue());
    case "WORKDIR":
      return args[0];
    default:
      return (instruction as AstInstruction & Pairs)
        .getProperties()
        .map((property) => [property.getName(), property.getValue()]);
  }
}

/** What its ENV, LABEL and ARG have in common. */
interface Pairs {
  getProperties(): { getName(): string; getValue(): string | null }[];
}

test("both readers agree on what both can read", () => {
  fc.assert(
    fc.property(dockerfiles, (text) => {
      expect(ours(text)).toEqual(theirs(text));
    }),
    { numRuns: 500 },
  );
});

test("what the other reader gets wrong is still so: else the page about it is out of date", () => {
  const kinds = (text: string): readonly string[] => astOf(text).map((i) => i.getKeyword());
  expect(kinds("FROM a\nRUN a \\\\\nRUN b")).toEqual(["FROM", "RUN"]);
  expect(kinds('FROM a\nRUN echo "a <<EOF"\nRUN b')).toEqual(["FROM", "RUN"]);
  expect(kinds("FROM a\nRUN 3<<EOF cat\nhello\nEOF")).toEqual(["FROM", "RUN", "HELLO", "EOF"]);
  const [, copy] = astOf('FROM a\nCOPY ["test file", "x"]');
  expect((copy as AstCopy).getJSONStrings().map((s) => s.getValue())).toContain('"testfile"');
  const [, flagged] = astOf("FROM a\nCOPY --chown=x --from=y a b");
  expect((flagged as AstCopy).getFromFlag()).toBeNull();
  const [, health] = astOf('FROM a\nHEALTHCHECK CMD ["x", "y"]');
  expect((health as Healthcheck).getArguments().map((a) => a.getValue())).toEqual([
    "CMD",
    '["x",',
    '"y"]',
  ]);
  const [, env] = astOf("FROM a\nENV x=${v%%p}");
  expect(env?.getVariables().map((found) => found.getName())).toEqual(["v%%p"]);
});

function astOf(text: string): readonly AstInstruction[] {
  return DockerfileParser.parse(text).getInstructions();
}
