import { describe, expect, test } from "vitest";
import { parseCheck, parseDockerfile } from "../../src/dockerfile/index.js";
import { errorsOf, one, parse } from "./support.js";

/** The text of a RUN that stands alone behind a FROM. */
function run(lines: string, head = ""): string {
  const { command } = one("RUN", lines, head);
  return command.form === "shell" ? command.text : JSON.stringify(command.argv);
}

describe("continuation", () => {
  test.each([
    ["RUN a \\\n  b", "a   b"],
    ["RUN a\\\nb", "ab"],
    ["RUN a \\  \t\nb", "a b"],
    ["RUN a \\\\\n", "a \\\\"],
    ["RUN a \\\n# no\n  # nor this \\\n b", "a  b"],
    ["RUN a \\\n\n  \n b", "a  b"],
    ["RUN a # b \\\n c", "a # b  c"],
    ["RUN a \\", "a"],
    ["RUN a \\\n\\\n\\\n b", "a  b"],
    ["\\\nRUN a", "a"],
    ["RUN \\\n a", "a"],
    ["   RUN a", "a"],
    ["run\ta", "a"],
    ["RUN a\r\n", "a"],
    ["RUN a \\\r\n b\r\n", "a  b"],
    ["RUN a ` \\\n b", "a `  b"],
  ])("%j runs %j", (lines, expected) => expect(run(lines)).toBe(expected));

  test("the escape directive makes the backtick continue lines, and the backslash data", () => {
    expect(run("RUN dir C:\\ `\n /s", "# escape=`\n")).toBe("dir C:\\  /s");
    expect(run("RUN dir C:\\\nRUN b".split("\n")[0] ?? "", "# ESCAPE = `\n")).toBe("dir C:\\");
  });

  test("two backslashes at the end are data: the next line is an instruction of its own", () => {
    const [stage] = parse("FROM scratch\nRUN a \\\\\nRUN b").stages;
    expect(stage?.instructions.map(({ text }) => text)).toEqual(["RUN a \\\\", "RUN b"]);
  });

  test("a comment is not continued", () => {
    expect(run("# a \\\nRUN b")).toBe("b");
  });

  test("a place in a continued line is the place in the file", () => {
    expect(
      errorsOf(() => parse("FROM scratch\nCOPY --chown=1 \\\n  # why\n  --nope=2 a b")),
    ).toEqual(["4:3 unknown flag: --nope"]);
  });

  test("a byte order mark is no part of the first instruction, nor of its column", () => {
    expect(parse("\uFEFFFROM scratch").stages).toHaveLength(1);
    expect(errorsOf(() => parse("\uFEFFFORM scratch"))).toEqual([
      "1:1 unknown instruction: FORM (did you mean FROM?)",
    ]);
    expect(parse("\uFEFF# escape=`\nFROM scratch").escape).toBe("`");
  });

  test("a line may have 65,535 bytes and no more", () => {
    const line = `RUN ${"é".repeat(32_765)}x`;
    expect(Buffer.byteLength(line)).toBe(65_535);
    expect(run(line)).toHaveLength(32_766);
    expect(errorsOf(() => run(`${line}y`))).toEqual([
      "2:1 dockerfile line greater than max allowed size of 65535",
    ]);
    expect(run(`${line.slice(0, -1)}\\\n${line}`)).toHaveLength(65_535);
  });
});

describe("directives", () => {
  test("stand at the very top, in any case, with blanks anywhere", () => {
    const { directives, escape } = parse(
      "#syntax=docker/dockerfile:1\n#  Escape\t=\t`  \n# check=skip=all\nFROM scratch",
    );
    expect(directives.syntax?.value).toBe("docker/dockerfile:1");
    expect(directives.check?.value).toBe("skip=all");
    expect(escape).toBe("`");
  });

  test.each([
    "# hello\n# escape=`\n",
    "\n# escape=`\n",
    "# unknown=1\n# escape=`\n",
    "# escape`\n",
    "# escape=\n",
    "FROM x\n# escape=`\n",
  ])("%j is none", (head) => expect(parse(`${head}FROM scratch`).escape).toBe("\\"));

  test("values are checked, and each may come once", () => {
    expect(errorsOf(() => parse("# escape=x\nFROM scratch"))).toEqual([
      "1:10 invalid escape token 'x' does not match ` or \\",
    ]);
    expect(errorsOf(() => parse("# escape=`\n# escape=\\\nFROM scratch"))).toEqual([
      "2:3 only one escape parser directive can be used",
    ]);
    expect(errorsOf(() => parse("# check=bogus=1\nFROM scratch"))).toEqual([
      '1:9 failed to parse check options: invalid check option "bogus"',
    ]);
    expect(errorsOf(() => parse("# check=error=maybe\nFROM scratch"))).toEqual([
      '1:9 failed to parse check options: invalid check option "error=maybe"',
    ]);
  });

  test("check options are read, and may be given from outside", () => {
    const text = "# check=skip=A,B;error=true;experimental=C\nFROM scratch";
    const { check } = parse(text);
    expect(check).toEqual({ skip: new Set(["A", "B"]), experimental: new Set(["C"]), error: true });
    expect(parseCheck("skip=A, B").skip).toEqual(new Set(["A", "B"]));
    const other = parseDockerfile({ path: "Dockerfile", text }, { check: "skip=all" });
    expect(other.check).toEqual({ skip: "all", experimental: new Set(), error: false });
    expect(errorsOf(() => parseDockerfile({ path: "x", text }, { check: "no" }))).toHaveLength(1);
  });
});

test("check options end at the first blank, and a third one takes the rest", () => {
  const { check } = parse("# check=skip=A, B;error=true\nFROM scratch");
  expect(check).toEqual({ skip: new Set(["A", ""]), experimental: new Set(), error: false });
  expect(parseCheck("error=1;skip=A;skip=B;C").skip).toEqual(new Set(["B;C"]));
});

describe("comments", () => {
  test("above an instruction are kept, up to an empty one", () => {
    const { globals, stages } = parse(
      "# x sets x\nARG x\n# lost\n#\n# base is first\n\nFROM scratch AS base\n  # indented\nRUN a",
    );
    expect(globals[0]?.comments).toEqual(["x sets x"]);
    expect(stages[0]?.from.comments).toEqual(["base is first"]);
    expect(stages[0]?.instructions[0]?.comments).toEqual(["# indented"]);
  });
});

describe("a file as a whole", () => {
  test.each([
    ["", "1:1 the Dockerfile cannot be empty"],
    ["# a\n\n  \n", "1:1 file with no instructions"],
    ["ARG a=b\nARG c", "1:1 dockerfile contains no stages to build"],
    ["\nRUN a\nRUN b\nFROM scratch\nRUN c", "2:1 no build stage in current context: RUN"],
    ["\\\n\\\n", "1:1 unknown instruction: "],
  ])("%j is refused", (text, expected) => expect(errorsOf(() => parse(text))).toEqual([expected]));

  test("everything that is wrong is reported at once, in order", () => {
    const text = [
      "FORM scratch",
      "RUN a",
      "FROM scratch",
      "CPOY a b",
      "COPY --form=x --chwon=y a b",
      "WORKDIR",
      "HEALTHCHECK --interval=1 --retries=-2 CMD x",
      "RUN --mount=type=tmp --network=x a",
    ].join("\n");
    expect(errorsOf(() => parse(text))).toEqual([
      "1:1 unknown instruction: FORM (did you mean FROM?)",
      "4:1 unknown instruction: CPOY (did you mean COPY?)",
      "5:6 unknown flag: --form (did you mean from?)",
      "5:15 unknown flag: --chwon (did you mean chown?)",
      "6:1 WORKDIR requires exactly one argument",
      '7:24 time: missing unit in duration "1"',
      "7:36 --retries cannot be negative (-2)",
      '8:13 unsupported mount type "tmp" (did you mean tmpfs?)',
      '8:22 invalid network mode "x"',
    ]);
  });

  test("is printed with each line and a mark below, without control characters", () => {
    const error = (): unknown => parse("FROM scratch\n\tCOPY\t--nope=\u001b[31m a b\n");
    expect(error).toThrow(
      [
        "Dockerfile:2:7: unknown flag: --nope",
        " 2 | \tCOPY\t--nope=\uFFFD[31m a b",
        "   | \t    \t^~~~~~~~~~~~",
      ].join("\n"),
    );
  });

  test("a long line is shown around the mark", () => {
    const text = `FROM scratch\nRUN --nope ${"x".repeat(500)}\nCOPY ${"y".repeat(500)} --x`;
    expect(() => parse(text)).toThrow(/RUN --nope x+\.\.\.\n/);
    const far = `FROM scratch\nRUN --network=none ${" ".repeat(300)}--nope x`;
    expect(() => parse(far)).toThrow(/ 2 \| \.\.\. +--nope x\n {3}\| {64}\^~~~~~\n?$/);
  });

  test("a file that is no Dockerfile does not fill the screen", () => {
    expect(() => parse("hello\n".repeat(1000))).toThrow(/and 980 more$/);
  });

  test("instruction names have any case, and a suggestion has the case of what is written", () => {
    expect(one("WORKDIR", "wOrKdIr /x").path.text).toBe("/x");
    expect(errorsOf(() => parse("from scratch\nrunn x"))).toEqual([
      "2:1 unknown instruction: runn (did you mean run?)",
    ]);
    expect(errorsOf(() => parse("FROM scratch\nXYZZYX x"))).toEqual([
      "2:1 unknown instruction: XYZZYX",
    ]);
  });
});
