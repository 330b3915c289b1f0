import { describe, expect, test } from "vitest";
import { parseTrigger, runScript } from "../../src/dockerfile/index.js";
import type { Heredoc } from "../../src/dockerfile/index.js";
import { errorsOf, one, parse } from "./support.js";

type Facts = Partial<Pick<Heredoc, "name" | "content" | "fd" | "expand" | "chomp">>;

function facts({ name, content, fd, expand, chomp }: Heredoc): Facts {
  return { name, content, fd, expand, chomp };
}
const plain = { fd: 0, expand: true, chomp: false };

describe("the word", () => {
  test.each<[string, Facts]>([
    ["RUN <<EMPTY\nEMPTY", { name: "EMPTY", content: "" }],
    ["RUN 3<<E\nE", { name: "E", content: "", fd: 3 }],
    ["RUN <<E\n\tfoo\n\tbar\nE", { name: "E", content: "\tfoo\n\tbar\n" }],
    ["RUN <<-E\n\tbaz\n\tE", { name: "E", content: "\tbaz\n", chomp: true }],
    ["RUN <<-'E'\n$N\nE", { name: "E", content: "$N\n", chomp: true, expand: false }],
    [
      "RUN <<E\n# comment\na # b\nFROM x\n\nE",
      { name: "E", content: "# comment\na # b\nFROM x\n\n" },
    ],
    ["RUN --mount=type=cache,target=/foo <<E\na\nE", { name: "E", content: "a\n" }],
    ["RUN <<E python3\na\nE", { name: "E", content: "a\n" }],
    ["RUN cat >x <<E && b\na\nE", { name: "E", content: "a\n" }],
    ["RUN <<eo'f'\na\neof", { name: "eof", content: "a\n", expand: false }],
    ["RUN <<eo\\'f\na\neo'f", { name: "eo'f", content: "a\n" }],
    ["RUN <<'e'o\\'f\na\neo'f", { name: "eo'f", content: "a\n", expand: false }],
    ["RUN <<'one two'\na\none two", { name: "one two", content: "a\n", expand: false }],
    ["RUN <<$EOF\n$EOF", { name: "$EOF", content: "" }],
    ["RUN <<  EOF  > foo\nEOF", { name: "EOF", content: "" }],
    ["RUN a \\\n <<E\nb\\\nE", { name: "E", content: "b\\\n" }],
    ["RUN <<E\r\na\r\nE\r\n", { name: "E", content: "a\r\n" }],
    ["RUN echo 'a <<B' <<E\na\nE", { name: "E", content: "a\n" }],
  ])("%j", (lines, expected) => {
    expect(one("RUN", lines).heredocs.map(facts)).toEqual([{ ...plain, ...expected }]);
  });

  test.each([
    'RUN "<<E"',
    "RUN '<<E'",
    "RUN a<<E",
    "RUN <<<E",
    "RUN <<",
    "RUN <<-",
    "RUN <E",
    'RUN ["<<E"]',
    "RUN echo $((1<<4))",
    'RUN echo "a <<E',
    "RUN echo it's <<E",
    "CMD <<E",
    "WORKDIR <<E",
  ])("%s has none", (line) => {
    expect(parse(`FROM scratch\n${line}\nRUN x`).stages[0]?.instructions).toHaveLength(2);
  });

  test("several are read in their order, and a name may end another's body", () => {
    const { sources } = one("COPY", "COPY <<X a <<Y /d\nY\nX\nX\nY");
    const found = sources.map((s) => (s.kind === "heredoc" ? s.heredoc.content : s.word.text));
    expect(found).toEqual(["Y\n", "a", "X\n"]);
  });

  test("knows its place and that of its body", () => {
    const text = 'FROM scratch\nCOPY a <<-"E" /d\nbody\nE\nRUN x';
    const [copy] = parse(text).stages[0]?.instructions ?? [];
    const heredoc =
      copy?.kind === "COPY" && copy.sources[1]?.kind === "heredoc"
        ? copy.sources[1].heredoc
        : undefined;
    expect(heredoc?.word).toBe('<<-"E"');
    expect(text.slice(heredoc?.span.start, heredoc?.span.end)).toBe('<<-"E"');
    expect(text.slice(heredoc?.body.start, heredoc?.body.end)).toBe("body\n");
  });

  test.each([
    ["COPY <<E /d\nE ", "2:6 unterminated heredoc"],
    ["COPY <<E /d\n\tE", "2:6 unterminated heredoc"],
    ["RUN a && \\\n b <<E\nx", "3:4 unterminated heredoc"],
    ["COPY a <<E\nE", "2:8 COPY cannot accept a heredoc as a destination"],
    ['COPY ["a","<<E"]', "2:11 COPY cannot accept a heredoc as a destination"],
    ["COPY <<E it's\nE", "2:6 a quote in this line is not closed, so the heredoc cannot be read"],
  ])("%j is refused", (lines, expected) => {
    expect(errorsOf(() => parse(`FROM scratch\n${lines}`))[0]).toBe(expected);
  });

  test("a misspelt instruction keeps its body to itself", () => {
    expect(errorsOf(() => parse("FROM scratch\nRUNN <<E\na\nb\nE\nCOPY x"))).toEqual([
      "2:1 unknown instruction: RUNN (did you mean RUN?)",
      "6:6 COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ]);
  });
});

describe("what a RUN executes", () => {
  test.each([
    ["RUN a b", { kind: "shell", script: "a b" }],
    ['RUN ["a", "b"]', { kind: "exec", argv: ["a", "b"] }],
    ["RUN <<E\na\nb\nE", { kind: "shell", script: "a\nb\n" }],
    ["RUN 3<<E\na\nE", { kind: "shell", script: "a\n" }],
    ["RUN <<-E\n\ta\n\t\tb\n\tE", { kind: "shell", script: "a\nb\n" }],
    ["RUN <<'E'\n$a\nE", { kind: "shell", script: "$a\n" }],
    [
      "RUN <<E.py\n#!/usr/bin/env python3\nx\nE.py",
      { kind: "shebang", name: "E.py", content: "#!/usr/bin/env python3\nx\n" },
    ],
    ["RUN <<-E\n\t#!/bin/sh\nE", { kind: "shebang", name: "E", content: "#!/bin/sh\n" }],
    ["RUN <<E cat\n#!a\nE", { kind: "shell", script: "<<E cat\n#!a\nE" }],
    ["RUN a <<A 3<<-'B'\n1\nA\n\t2\n\tB", { kind: "shell", script: "a <<A 3<<-'B'\n1\nA\n\t2\nB" }],
  ])("%j", (lines, expected) => expect(runScript(one("RUN", lines))).toEqual(expected));
});

describe("a trigger out of an image's config", () => {
  test("is read with its heredocs and its own places", () => {
    const trigger = parseTrigger("COPY <<E /d\nx\nE", "ONBUILD of base");
    expect(trigger).toMatchObject({ kind: "COPY", span: { file: { path: "ONBUILD of base" } } });
  });

  test.each([
    ["RNU x", "1:1 unknown instruction: RNU (did you mean RUN?)"],
    ["", "1:1 onbuild trigger should be a single expression"],
    ["RUN a\nRUN b", "1:1 onbuild trigger should be a single expression"],
    ["FROM a", "1:1 FROM isn't allowed as an ONBUILD trigger"],
    ["ONBUILD RUN a", "1:1 Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
  ])("%j is refused", (text, expected) => {
    expect(errorsOf(() => parseTrigger(text, "ONBUILD"))).toEqual([expected]);
  });

  test("is read with the escape that is asked for", () => {
    expect(parseTrigger("RUN C:\\ `\n x", "ONBUILD", "`")).toMatchObject({ text: "RUN C:\\  x" });
  });
});
