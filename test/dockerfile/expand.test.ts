import { describe, expect, test } from "vitest";
import {
  DockerfileError,
  expandHeredoc,
  expandWord,
  expandWords,
  parseDockerfile,
  type Scope,
  type Word,
} from "../../src/dockerfile/index.js";

function word(text: string): Word {
  return { text, span: { file: { path: "Dockerfile", text }, start: 0, end: text.length } };
}

function scope(values: Record<string, string>, escape: Scope["escape"] = "\\"): Scope {
  return {
    escape,
    get: (name) => (Object.hasOwn(values, name) ? values[name] : undefined),
  };
}

const ENV = { PWD: "/home", SHELL: "bash", KOREAN: "한국어", NULL: "" };

function expand(text: string, values: Record<string, string> = ENV): string {
  return expandWord(word(text), scope(values)).value;
}

describe("quotes and escapes", () => {
  test.each([
    ["hello", "hello"],
    ["he'll'o", "hello"],
    ["he\\'llo", "he'llo"],
    ["abc\\tdef", "abctdef"],
    ['"abc\\tdef"', "abc\\tdef"],
    ['"abc\\\\tdef"', "abc\\tdef"],
    ["'abc\\tdef'", "abc\\tdef"],
    ["hello\\", "hello"],
    ["hello\\\\", "hello\\"],
    [`"hel'lo"`, "hel'lo"],
    ["'hello\\'", "hello\\"],
    ["'hello\\there'", "hello\\there"],
    ["'hello\\\\there'", "hello\\\\there"],
    [`"''"`, "''"],
    [`'"hello"'`, '"hello"'],
    ["안녕\\'하세요", "안녕'하세요"],
    ["안'녕'하세요", "안녕하세요"],
    ['"안녕\\t하세요"', "안녕\\t하세요"],
    ["", ""],
    ["a  b", "a  b"],
    ["a << b < c", "a << b < c"],
  ])("%s is %s", (text, expected) => expect(expand(text)).toBe(expected));

  test.each(["he'llo", "he\\\\'llo", '"hello', '"hello\\"', "'hello", "안\\\\'녕하세요", '"a\\'])(
    "%s is refused: a quote is not closed",
    (text) => {
      expect(() => expand(text)).toThrow(/unexpected end of statement.*matching (single|double)-q/);
    },
  );

  test("the backtick takes the backslash's place where the file says so", () => {
    const windows = scope({ HOME: "C:\\Users" }, "`");
    const read = (text: string): string => expandWord(word(text), windows).value;
    expect(read("C:\\new\\$HOME")).toBe("C:\\new\\C:\\Users");
    expect(read("`$HOME`x``")).toBe("$HOMEx`");
    expect(read('"`$HOME `n"')).toBe("$HOME `n");
  });
});

describe("variables", () => {
  test.each([
    ["$.", "$."],
    ["he$.x", "he$.x"],
    ["$", "$"],
    ["he$PWD", "he/home"],
    ["he$pwd.", "he."],
    ["he\\$PWD", "he$PWD"],
    ["he\\\\$PWD", "he\\/home"],
    ['"he\\$PWD"', "he$PWD"],
    ['"he\\\\$PWD"', "he\\/home"],
    ["'he\\$PWD'", "he\\$PWD"],
    ["'$PWD'", "$PWD"],
    ["\\${}", "${}"],
    ["he\\${}xx", "he${}xx"],
    ["he${hi}xx", "hexx"],
    ["he${PWD}", "he/home"],
    [`"he'$PWD'"`, "he'/home'"],
    ["'he${XX}'", "he${XX}"],
    ["$KOREAN", "한국어"],
    ["안녕$PWD", "안녕/home"],
    ["${KOREAN}녕", "한국어녕"],
    ["${aaa}}", "}"],
    ["$PWD하", ""],
  ])("%s is %s", (text, expected) => expect(expand(text)).toBe(expected));

  test.each(["1", "2", "9", "999", "001", "0", "@", "*", "#", "?", "-", "$", "!"])(
    "$%s is a parameter of shells and never set",
    (name) => {
      expect(expand(`$${name}`)).toBe("");
      expect(expand(`\${${name}}`)).toBe("");
      expect(expand(`\${${name}:+bbb}`)).toBe("");
      expect(expand(`\${${name}:-bbb}`)).toBe("bbb");
      expect(expand(`$${name}.aaa`)).toBe(".aaa");
    },
  );

  test("a special name is one character, digits are taken together", () => {
    expect(expand("$@@@")).toBe("@@");
    expect(expand("$999aaa")).toBe("aaa");
    expect(expand("$0a")).toBe("a");
  });
});

describe("modifiers", () => {
  test.each([
    ["he${XXX:-000}xx", "he000xx"],
    ["he${PWD:-000}xx", "he/homexx"],
    ["he${XXX:-$PWD}xx", "he/homexx"],
    ["he${XXX:-${PWD:-yyy}}xx", "he/homexx"],
    ["he${XXX:-${YYY:-yyy}}xx", "heyyyxx"],
    ["he${XXX:+${PWD}}xx", "hexx"],
    ["he${PWD:+${XXX}}xx", "hexx"],
    ["he${PWD:+${SHELL}}xx", "hebashxx"],
    ["he${PWD:+${PWD}:}xx", "he/home:xx"],
    ["he${XXX:-\\$PWD:}xx", "he$PWD:xx"],
    ["he${XXX:-\\${PWD}z}xx", "he${PWDz}xx"],
    ["he${PWD?}", "he/home"],
    ["he${PWD:?}", "he/home"],
    ["he${NULL?}", "he"],
    ["${NULL-a}${NULL:-b}${NONE-c}", "bc"],
    ["${NULL+a}${NULL:+b}${NONE+c}", "a"],
    ["${aaa:-bbb}}", "bbb}"],
    ["${aaa:-bbb {foo}", "bbb {foo"],
    [`\${aaa:-'}'}`, "}"],
    [`\${aaa:-"a } b"}`, "a } b"],
    ["${aaa:-}", ""],
  ])("%s is %s", (text, expected) => expect(expand(text)).toBe(expected));

  test.each([
    ["${XXX?}", "XXX: is not allowed to be unset"],
    ["${XXX:?}", "XXX: is not allowed to be unset"],
    ["${NULL:?}", "NULL: is not allowed to be empty"],
    ["${XXX?custom}", "XXX: custom"],
    ["${NULL:?message here$SHELL}", "NULL: message herebash"],
    ["${", "syntax error: missing '}'"],
    ["he${PWD", "syntax error: missing '}'"],
    ["${PWD:", "syntax error: missing '}'"],
    ["${aaa:-bbb", "syntax error: missing '}'"],
    ["${aaa:-bbb ${foo}", "syntax error: missing '}'"],
    ["${}", "syntax error: bad substitution"],
    ["${:}", "syntax error: bad substitution"],
    ["${:-bbb}", "syntax error: bad substitution"],
    ["${{aaa}", "syntax error: bad substitution"],
    ["${{aaa:-bbb}", "syntax error: bad substitution"],
    ["he${.}", "unsupported modifier (.) in substitution"],
    ["${XXX:YYY}", "unsupported modifier (:Y) in substitution"],
    ["${PWD:=000}", "unsupported modifier (:=) in substitution"],
    ["${PWD=000}", "unsupported modifier (=) in substitution"],
    ["${PWD:#a}", "unsupported modifier (:#) in substitution"],
    ["${PWD:%%a}", "unsupported modifier (:%) in substitution"],
    ["${PWD:}", "unsupported modifier (:}) in substitution"],
    ["${PWD//a}", "syntax error: missing '/' in ${}"],
    ["${PWD//}", "syntax error: missing '/' in ${}"],
    ["${PWD/a/b", "syntax error: missing '}'"],
    ["${PWD#\\x}", "invalid pattern in substitution: invalid escape '\\x'"],
    ["${PWD%a\\b}", "invalid pattern in substitution: invalid escape '\\b'"],
  ])("%s is refused: %s", (text, message) => {
    expect(() => expand(text)).toThrow(DockerfileError);
    expect(() => expand(text)).toThrow(message);
  });

  test("a substitution nested beyond reason is an error, not a full stack", () => {
    expect(expand("${a:-".repeat(150) + "x" + "}".repeat(150))).toBe("x");
    expect(() => expand("${a:-".repeat(20_000))).toThrow("nested too deeply");
  });

  test("a variable's value is not expanded again", () => {
    expect(expand("$A", { A: "$B", B: "no" })).toBe("$B");
    expect(expand("${X:-$A}", { A: '"$B"' })).toBe('"$B"');
  });
});

describe("patterns", () => {
  test.each<[string, Record<string, string>, string]>([
    ["${F#()[]{\\}^$.\\*\\?|\\\\}", { F: "()[]{}^$.*?|\\x" }, "x"],
    ["${F%%\\**}", { F: "xx**" }, "xx"],
    ["${F#*x*y}", { F: "xxyy" }, "y"],
    ["${F#*}", { F: "xxyy" }, "xxyy"],
    ["${F#$B}", { F: "xxyy", B: "x" }, "xyy"],
    ["${F#$B}", { F: "xxyy", B: "" }, "xxyy"],
    ["${F#}${F##}${F%}", { F: "ab" }, "ababab"],
    ["${F##*x}", { F: "xxyy" }, "yy"],
    ["${F#?\\?}", { F: "???y" }, "?y"],
    ["${A:-.}${F%x}${A:-.}", { F: "xxyy" }, ".xxyy."],
    ["${F%%\\**\\*}", { F: "a***yy*" }, "a"],
    ["${F%%$B}", { F: "xxyy", B: "" }, "xxyy"],
    ["${F%/*}|${F%%/*}|${F##*/}|${F#*/}", { F: "a/b/c.txt" }, "a/b|a|c.txt|b/c.txt"],
    ["${F%.*}", { F: "archive.tar.gz" }, "archive.tar"],
    ["${F%?}", { F: "ab👽" }, "ab"],
    ["${F#*b}", { F: "a\nb" }, "a\nb"],
    ["${F/$N/.} - ${F//$N/.}", { F: "/foo*/*/*.txt", N: "\\*/" }, "/foo.*/*.txt - /foo..*.txt"],
    ["${F/$N/} - ${F//$N/}", { F: "/tmp/tmp/bar.txt", N: "/tmp" }, "/tmp/bar.txt - /bar.txt"],
    [
      "${F/$N/$R} - ${F//$N/$R}",
      { F: "/a/foo/b/c.txt", N: "/?/", R: "/" },
      "/foo/b/c.txt - /foo/c.txt",
    ],
    ["${F/$N/$R}", { F: "http://google.de", N: "http://", R: "https://" }, "https://google.de"],
    ["${F//\\//\\/}", { F: "/tmp/foo.txt" }, "\\/tmp\\/foo.txt"],
    ["${F/$B/ww}", { F: "xxyy", B: "" }, "wwxxyy"],
    ["${F///}", { F: "xxyy" }, "xxyy"],
    ["${F///}", {}, ""],
    ["${F//$E/-}", { F: "abc", E: "" }, "-a-b-c-"],
    ["${F//*/x}", { F: "abc" }, "x"],
    ["${F//a*b/x}", { F: "1ab2a3b4\nab" }, "1x4\nx"],
    ["${F//a/$R}", { F: "abc", R: "[$0][$1]$$x" }, "[a][]$xbc"],
    ["${F/a/$R}", { F: "abc", R: "[$0]" }, "[$0]bc"],
    [
      "something-$V.$O-$A${T:+-$T}.tgz",
      { V: "v1", O: "linux", A: "arm", T: "v7" },
      "something-v1.linux-arm-v7.tgz",
    ],
    [
      "something-$V.$O-$A${T:+-$T}.tgz",
      { V: "v1", O: "linux", A: "arm64", T: "" },
      "something-v1.linux-arm64.tgz",
    ],
  ])("%s of %j is %s", (text, values, expected) => {
    expect(expand(text, values)).toBe(expected);
  });

  test("a pattern made to backtrack takes no longer than the text times the pattern", () => {
    const values = { F: "a".repeat(20_000), P: "*a".repeat(60) + "b" };
    const before = process.cpuUsage();
    expect(expand("${F#$P}${F%%$P}${F//$P/x}", values)).toBe(values.F.repeat(3));
    // Of the processor, whatever else the machine does; far more than it needs.
    expect(process.cpuUsage(before).user).toBeLessThan(10_000_000);
  });

  test("an unreadable pattern does not print the variable that it came from", () => {
    expect(() => expand("${F#$P}", { F: "a", P: "hunter2\\x" })).not.toThrow(/hunter2/);
    expect(() => expand("${F#$P}", { F: "a", P: "hunter2\\x" })).toThrow(/invalid escape/);
  });
});

describe("what is reported", () => {
  test("names without a value, each once, with those of nested words and of ARGs declared empty left out", () => {
    const { unset } = expandWord(word("$A ${A} ${B:-$C} ${D+x} $E"), scope({ E: "", C: "c" }));
    expect(unset).toEqual(["A", "B", "D"]);
  });

  test("an error stands where the word stands in the file", () => {
    const text = "FROM scratch\nENV a=1 \\\n  b=${x\n";
    const [stage] = parseDockerfile({ path: "Dockerfile", text }).stages;
    const [env] = stage?.instructions ?? [];
    const entries = env?.kind === "ENV" ? env.entries : [];
    expect(() => entries.map(({ value }) => expandWord(value, scope({})))).toThrow(
      ["Dockerfile:3:5: syntax error: missing '}'", " 3 |   b=${x", "   |     ^~~"].join("\n"),
    );
  });
});

describe("words", () => {
  const values = { hi: "hi", space: "abc  def", leading: "  ab c", trailing: "ab c   " };
  test.each<[string, string[]]>([
    ["hello", ["hello"]],
    ["hello${nope}bye", ["hellobye"]],
    ["hello${hi}bye", ["hellohibye"]],
    ["hello${space}bye", ["helloabc", "defbye"]],
    ['hello"${space}"bye', ["helloabc  defbye"]],
    ['hello "${space}"bye', ["hello", "abc  defbye"]],
    ["hello${leading}def", ["hello", "ab", "cdef"]],
    ['hello"${leading}" def', ["hello  ab c", "def"]],
    ["hello${trailing}d", ["helloab", "c", "d"]],
    ['hel"lo${trailing}"', ["helloab c   "]],
    ['hello" there  "', ["hello there  "]],
    ["hello     there", ["hello", "there"]],
    ["hello\\ there", ["hello there"]],
    ['hello\\" there', ['hello"', "there"]],
    [`hello'\\there'`, ["hello\\there"]],
    ["hello'$there'", ["hello$there"]],
    ["$nope", []],
    ['""', []],
    ["${nope:-80 443}/tcp", ["80", "443/tcp"]],
    ["a${nope:-b}c", ["abc"]],
  ])("%s splits into %j", (text, expected) => {
    expect(expandWords(word(text), scope(values))).toEqual(expected);
  });

  test("an open quote is refused", () => {
    expect(() => expandWords(word('hello" there'), scope({}))).toThrow(/double-quote/);
  });
});

describe("the body of a COPY heredoc", () => {
  function body(text: string, values: Record<string, string> = {}): string {
    const file = { path: "Dockerfile", text: `# escape=\`\nFROM scratch\nCOPY ${text}` };
    const [copy] = parseDockerfile(file).stages[0]?.instructions ?? [];
    const source = copy?.kind === "COPY" ? copy.sources[0] : undefined;
    if (source?.kind !== "heredoc") throw new Error("no heredoc");
    return expandHeredoc(source.heredoc, scope(values, "`")).value;
  }

  test("keeps quotes, and has the backslash for its escape whatever the file has", () => {
    expect(body("<<E /f\n\"$A\" '${B:-x}' `$A` \\$A \\\\ \\x\nE\n", { A: "a" })).toBe(
      "\"a\" 'x' `a` $A \\ x\n",
    );
  });

  test("a backslash at the end of a line is dropped, the newline stays", () => {
    expect(body("<<E /f\na\\\nb\nE\n")).toBe("a\nb\n");
  });

  test("is not expanded when any part of the word is quoted", () => {
    expect(body(`<<E"O"F /f\n$A \\$\nEOF\n`, { A: "a" })).toBe("$A \\$\n");
  });

  test("loses leading tabs with <<-, and only tabs", () => {
    expect(body("<<-E /f\n\t\ta\n\n\t b\n \tc\n\tE\n")).toBe("a\n\n b\n \tc\n");
    expect(body("<<-'E' /f\n\t$A\nE\n")).toBe("$A\n");
  });

  test("an error names the line of the body", () => {
    expect(() => body("<<-E /f\na\n\t\t$A ${A\nb\nE\n")).toThrow(
      "Dockerfile:5:1: unsupported modifier (\\n) in substitution\n 5 | \t\t$A ${A\n   | ^~",
    );
  });
});
