import { describe, expect, test } from "vitest";
import type { Instruction } from "../../src/dockerfile/index.js";
import { errorsOf, one, parse } from "./support.js";

function wrong(line: string): readonly string[] {
  return errorsOf(() => parse(`FROM scratch\n${line}`));
}

describe("flags", () => {
  test.each([
    ["COPY --chown=a a b", "a"],
    ["COPY --chown='a b' a b", "a b"],
    ['COPY --chown="a b" a b', "a b"],
    ["COPY --chown=a\\ b a b", "a b"],
    ["COPY --chown=a\\'b a b", "a'b"],
    ["COPY '--chown=x' --chown=y z", undefined],
    ['COPY --"chown"=a"$U"b a b', "a$Ub"],
    ["COPY --chown= a b", ""],
  ])("%s: %j", (line, expected) => {
    expect(one("COPY", line).chown?.value.text).toBe(expected);
  });

  test("booleans need no value, and take true and false in any case", () => {
    expect(one("COPY", "COPY --link a b").link?.value).toBe(true);
    expect(one("COPY", "COPY --link=FALSE a b").link?.value).toBe(false);
    expect(one("COPY", "COPY a b").link).toBeUndefined();
    expect(one("ADD", "ADD --unpack=false --keep-git-dir a b")).toMatchObject({
      unpack: { value: false },
      keepGitDir: { value: true },
    });
  });

  test("two dashes alone end them", () => {
    const { sources, target } = one("COPY", "COPY --link -- --odd --parents /x");
    expect(sources.map((s) => (s.kind === "path" ? s.word.text : ""))).toEqual([
      "--odd",
      "--parents",
    ]);
    expect(target.text).toBe("/x");
    expect(one("RUN", "RUN -- --x").command).toMatchObject({ text: "--x" });
  });

  test("some may be repeated", () => {
    const { exclude } = one("COPY", "COPY --exclude=a --exclude='*.md' a b");
    expect(exclude.map(({ value }) => value.text)).toEqual(["a", "*.md"]);
  });

  test.each([
    ["COPY --chown=1 --chown=2 a b", "2:16 duplicate flag specified: --chown"],
    ["COPY --chown a b", "2:6 missing a value on flag: --chown"],
    ["COPY --link= a b", "2:6 missing a value on flag: --link"],
    ["COPY --link=1 a b", "2:6 expecting boolean value for flag --link, not: 1"],
    ["COPY --checksum=a a b", "2:6 unknown flag: --checksum"],
    ["ADD --from=a a b", "2:5 unknown flag: --from"],
    ["CMD --help", "2:5 unknown flag: --help"],
    ["MAINTAINER --boo joe@example.com", "2:12 unknown flag: --boo"],
    ["ARG --x a", "2:5 unknown flag: --x"],
    ["COPY --toString=1 a b", "2:6 unknown flag: --toString"],
    ["COPY --=1 a b", "2:6 unknown flag: --"],
  ])("%s is refused", (line, expected) => expect(wrong(line)).toEqual([expected]));
});

describe("the JSON form", () => {
  test.each<[string, readonly string[]]>([
    ["[]", []],
    ['[""]', [""]],
    ['["a"]', ["a"]],
    ['\t[ "a",\t"b" ] ', ["a", "b"]],
    [
      '["abc 123", "♥", "\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0000"]',
      ["abc 123", "♥", '" \\ / \b \f \n \r \t \u0000'],
    ],
    ['["a", \\\n # comment\n "b"]', ["a", "b"]],
  ])("%j is %j", (text, argv) => {
    expect(one("CMD", `CMD ${text}`).command).toMatchObject({ form: "exec", argv });
  });

  test.each([
    '["a" "b"]',
    "['a']",
    '["a",]',
    '["a"] b',
    '["echo", "hello"]this is invalid',
    '["a"',
    "[ x",
    '"a"',
    '{"a": "b"}',
  ])("%s is text for the shell", (text) => {
    expect(one("CMD", `CMD ${text}`).command).toMatchObject({ form: "shell", text });
  });

  test.each(['["a",42]', '["a",1.5]', '["a",{}]', '["a",["c"]]', '["a",true]', '["a",null]'])(
    "%s is refused",
    (text) => {
      const message = "when using JSON array syntax, arrays must be comprised of strings only";
      expect(wrong(`CMD ${text}`)).toEqual([`2:5 ${message}`]);
      expect(wrong(`VOLUME ${text}`)).toEqual([`2:8 ${message}`]);
    },
  );

  test("words in it have the place of their string", () => {
    const { paths } = one("VOLUME", 'VOLUME [" /a b ", "/\\u00e9"]');
    expect(paths.map(({ text, span }) => [text, span.start - 13, span.end - 13])).toEqual([
      ["/a b", 8, 16],
      ["/é", 18, 27],
    ]);
  });
});

describe("ENV, LABEL and ARG", () => {
  test.each<[string, readonly (readonly [string, string])[]]>([
    ["ENV a=1", [["a", "1"]]],
    [
      "ENV a=1 b='x y' c=\"$a\"",
      [
        ["a", "1"],
        ["b", "'x y'"],
        ["c", '"$a"'],
      ],
    ],
    [
      "ENV a=x\\ y b=",
      [
        ["a", "x\\ y"],
        ["b", ""],
      ],
    ],
    ["ENV a=b=c", [["a", "b=c"]]],
    ["ENV a 1 2  3", [["a", "1 2  3"]]],
    ["ENV a b=c", [["a", "b=c"]]],
    ['ENV "a b"=c', [['"a b"', "c"]]],
    ["ENV a='x", [["a", "'x"]]],
    [
      "ENV a=1 \\\n  # no\n  b=2",
      [
        ["a", "1"],
        ["b", "2"],
      ],
    ],
  ])("%s", (line, expected) => {
    const { entries, legacy } = one("ENV", line);
    expect(entries.map(({ name, value }) => [name.text, value.text])).toEqual(expected);
    expect(legacy).toBe(/^ENV \w+ /.test(line));
  });

  test("ARG tells no value from an empty one", () => {
    const { entries } = one("ARG", 'ARG a b= c="x y" d=${a:-"b c"}');
    expect(entries.map(({ name, value }) => [name.text, value?.text])).toEqual([
      ["a", undefined],
      ["b", ""],
      ["c", '"x y"'],
      ["d", '${a:-"b c"}'],
    ]);
  });

  test.each([
    ["ENV", "2:1 ENV requires at least one argument"],
    ["LABEL", "2:1 LABEL requires at least one argument"],
    ["ARG", "2:1 ARG requires at least one argument"],
    ["ENV a", "2:5 ENV must have two arguments"],
    ["LABEL a", "2:7 LABEL must have two arguments"],
    ["ENV a=1 b", `2:9 Syntax error - can't find = in "b". Must be of the form: name=value`],
    ["ENV =1", "2:5 ENV names can not be blank"],
    ["LABEL a=1 =2", "2:11 LABEL names can not be blank"],
    ["ARG =1", "2:5 ARG names can not be blank"],
  ])("%s is refused", (line, expected) => expect(wrong(line)).toEqual([expected]));
});

describe("FROM", () => {
  test("has an image, a name in lower case, and a platform", () => {
    const [stage] = parse("from --platform=$P  a/b:c@sha256:d  As  Foo-1.x_Y").stages;
    expect(stage).toMatchObject({
      name: "foo-1.x_y",
      from: {
        image: { text: "a/b:c@sha256:d" },
        asText: "Foo-1.x_Y",
        platform: { value: { text: "$P" } },
      },
    });
  });

  test.each([
    ["FROM", "1:1 FROM requires either one or three arguments"],
    ["FROM a b", "1:6 FROM requires either one or three arguments"],
    ["FROM a as", "1:6 FROM requires either one or three arguments"],
    ["FROM a is b", "1:6 FROM requires either one or three arguments"],
    ["FROM a as b c", "1:6 FROM requires either one or three arguments"],
    [
      "FROM a AS 1x",
      `1:11 invalid name for build stage: "1x", name can't start with a number or contain symbols`,
    ],
    [
      "FROM a AS b$",
      `1:11 invalid name for build stage: "b$", name can't start with a number or contain symbols`,
    ],
    ["FROM --plat=x a", "1:6 unknown flag: --plat"],
  ])("%s is refused", (line, expected) => expect(errorsOf(() => parse(line))).toEqual([expected]));
});

describe("COPY and ADD", () => {
  test("take words between white space, quotes and all, or JSON", () => {
    const words = ({ sources, target }: Extract<Instruction, { kind: "COPY" }>): string[] => [
      ...sources.map((s) => (s.kind === "path" ? s.word.text : s.heredoc.word)),
      target.text,
    ];
    expect(words(one("COPY", 'COPY "a  b" c\td'))).toEqual(['"a', 'b"', "c", "d"]);
    expect(words(one("COPY", 'COPY ["a b", "c"]'))).toEqual(["a b", "c"]);
    expect(words(one("COPY", "COPY ['a b', 'c']"))).toEqual(["['a", "b',", "'c']"]);
    expect(words(one("COPY", "COPY ['a b', 'c']"))).toHaveLength(3);
  });

  test("--from is a name as it is, and an empty one is none", () => {
    expect(one("COPY", "COPY --from=Build a b").from?.value).toBe("Build");
    expect(one("COPY", "COPY --from= a b").from).toBeUndefined();
  });

  test.each([
    [
      "COPY",
      "2:1 COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ],
    [
      "ADD a",
      "2:5 ADD requires at least two arguments, but only one was provided. Destination could not be determined",
    ],
    [
      'COPY ["a"]',
      "2:6 COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ],
    [
      "COPY\t\n\tquux \\\n  bar",
      "2:1 COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ],
  ])("%j is refused", (line, expected) => expect(wrong(line)[0]).toBe(expected));

  test.each(["$x", "${x}", "a$x", "${", "a\\b", "'a'"])("--from=%s is refused", (from) => {
    const [message] = wrong(`COPY --from=\\'${from}\\' a b`);
    expect(message).toContain("variable expansion is not supported for --from");
  });
});

describe("the others", () => {
  test("WORKDIR, USER, STOPSIGNAL and MAINTAINER take all of the line", () => {
    expect(one("WORKDIR", 'WORKDIR  /a "b  c"  ').path.text).toBe('/a "b  c"');
    expect(one("USER", "USER a:b c").user.text).toBe("a:b c");
    expect(one("STOPSIGNAL", "STOPSIGNAL $S").signal.text).toBe("$S");
    expect(one("MAINTAINER", "MAINTAINER A <a@b.c>").name).toBe("A <a@b.c>");
    for (const kind of ["WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER"]) {
      expect(wrong(kind)).toEqual([`2:1 ${kind} requires exactly one argument`]);
    }
  });

  test("EXPOSE sorts its words by their bytes", () => {
    const ports = one("EXPOSE", "EXPOSE 9 80/tcp 443 $P").ports.map(({ text }) => text);
    expect(ports).toEqual(["$P", "443", "80/tcp", "9"]);
    expect(wrong("EXPOSE")).toEqual(["2:1 EXPOSE requires at least one argument"]);
  });

  test("VOLUME takes words or JSON, none of them empty", () => {
    expect(one("VOLUME", "VOLUME /a  /b").paths.map(({ text }) => text)).toEqual(["/a", "/b"]);
    expect(wrong("VOLUME")).toEqual(["2:1 VOLUME requires at least one argument"]);
    expect(wrong("VOLUME []")).toEqual(["2:8 VOLUME requires at least one argument"]);
    expect(wrong('VOLUME ["/a", " "]')).toEqual([
      "2:15 VOLUME specified can not be an empty string",
    ]);
  });

  test("SHELL is JSON and not empty", () => {
    expect(one("SHELL", 'SHELL ["/bin/bash", "-c"]').argv).toEqual(["/bin/bash", "-c"]);
    expect(wrong("SHELL")).toEqual(["2:1 SHELL requires at least one argument"]);
    expect(wrong("SHELL []")).toEqual(["2:7 SHELL requires at least one argument"]);
    expect(wrong("SHELL /bin/sh -c")).toEqual([
      "2:7 SHELL requires the arguments to be in JSON form",
    ]);
  });

  test("CMD and ENTRYPOINT may be empty, which clears them", () => {
    expect(one("CMD", "CMD []").command).toMatchObject({ form: "exec", argv: [] });
    expect(one("ENTRYPOINT", "ENTRYPOINT").command).toMatchObject({ form: "shell", text: "" });
  });
});

describe("HEALTHCHECK", () => {
  test.each([
    ["HEALTHCHECK NONE", { test: ["NONE"] }],
    ["HEALTHCHECK cmd a  b", { test: ["CMD-SHELL", "a  b"] }],
    ['HEALTHCHECK CMD ["a", "b c"]', { test: ["CMD", "a", "b c"] }],
    ["HEALTHCHECK CMD ['a']", { test: ["CMD-SHELL", "['a']"] }],
    [
      "HEALTHCHECK --interval=1h2.5m --timeout=1.5s --start-period=1ms --start-interval=1m1us --retries=3 CMD x",
      {
        test: ["CMD-SHELL", "x"],
        interval: 3_750e9,
        timeout: 1.5e9,
        startPeriod: 1e6,
        startInterval: 60_000_001_000,
        retries: 3,
      },
    ],
    ["HEALTHCHECK --interval=0 --timeout=0s --retries=0 CMD x", { test: ["CMD-SHELL", "x"] }],
    ["HEALTHCHECK --interval= CMD x", { test: ["CMD-SHELL", "x"] }],
  ])("%s", (line, expected) => {
    const { test: command, ...rest } = one("HEALTHCHECK", line);
    const { interval, timeout, startPeriod, startInterval, retries } = rest;
    expect({ test: command, interval, timeout, startPeriod, startInterval, retries }).toEqual(
      expected,
    );
  });

  test.each([
    ["HEALTHCHECK", "2:1 HEALTHCHECK requires at least one argument"],
    ["HEALTHCHECK NONE x", "2:18 HEALTHCHECK NONE takes no arguments"],
    ["HEALTHCHECK CMD", "2:13 Missing command after HEALTHCHECK CMD"],
    ["HEALTHCHECK CMD []", "2:13 Missing command after HEALTHCHECK CMD"],
    ["HEALTHCHECK FOO x", '2:13 Unknown type "FOO" in HEALTHCHECK (try CMD)'],
    ["HEALTHCHECK --nope=1 CMD x", "2:13 unknown flag: --nope"],
    ["HEALTHCHECK --interval=5 CMD x", '2:24 time: missing unit in duration "5"'],
    ["HEALTHCHECK --interval=5x CMD x", '2:24 time: unknown unit "x" in duration "5x"'],
    ["HEALTHCHECK --interval=x CMD x", '2:24 time: invalid duration "x"'],
    ["HEALTHCHECK --interval=. CMD x", '2:24 time: invalid duration "."'],
    ["HEALTHCHECK --interval=9999999h CMD x", '2:24 time: invalid duration "9999999h"'],
    ["HEALTHCHECK --interval=50us CMD x", '2:24 Interval "interval" cannot be less than 1ms'],
    [
      "HEALTHCHECK --start-period=-1s CMD x",
      '2:28 Interval "start-period" cannot be less than 1ms',
    ],
    ["HEALTHCHECK --retries=-1 CMD x", "2:23 --retries cannot be negative (-1)"],
    ["HEALTHCHECK --retries=a CMD x", '2:23 invalid value for --retries: "a": invalid syntax'],
    ["HEALTHCHECK --retries=1e3 CMD x", '2:23 invalid value for --retries: "1e3": invalid syntax'],
    [
      "HEALTHCHECK --retries=9999999999 CMD x",
      '2:23 invalid value for --retries: "9999999999": value out of range',
    ],
  ])("%s is refused", (line, expected) => expect(wrong(line)).toEqual([expected]));
});

describe("ONBUILD", () => {
  test("keeps what follows it, lines joined and heredoc bodies appended", () => {
    expect(one("ONBUILD", "onbuild  RUN a \\\n  b").trigger).toBe("RUN a   b");
    expect(one("ONBUILD", "ONBUILD COPY <<A <<B /d\n1\nA\n2\nB").trigger).toBe(
      "COPY <<A <<B /d\n1\nA\n2\nB",
    );
  });

  test.each([
    ["ONBUILD", "2:1 ONBUILD requires at least one argument"],
    ["ONBUILD ONBUILD RUN x", "2:9 Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    ["ONBUILD FROM scratch", "2:9 FROM isn't allowed as an ONBUILD trigger"],
    ["ONBUILD maintainer x", "2:9 MAINTAINER isn't allowed as an ONBUILD trigger"],
    ["ONBUILD --x RUN y", "2:9 unknown flag: --x"],
  ])("%s is refused", (line, expected) => expect(wrong(line)).toEqual([expected]));

  test("a trigger that nobody can run is a warning, since this build does not run it", () => {
    const { warnings } = parse("FROM scratch\nONBUILD RNU x");
    expect(warnings.map(({ message }) => message)).toEqual([
      "ONBUILD trigger is not valid: unknown instruction: RNU (did you mean RUN?)",
    ]);
  });

  test.each([
    ['ONBUILD CMD ["a", 1]', "when using JSON array syntax"],
    ["ONBUILD ENV a", "ENV must have two arguments"],
    ["ONBUILD LABEL a=b c", 'can\'t find = in "c"'],
  ])("what cannot even be taken apart is refused at once: %s", (line, message) => {
    expect(errorsOf(() => parse(`FROM scratch\n${line}`)).join()).toContain(message);
  });
});
