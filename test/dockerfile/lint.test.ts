import { describe, expect, test } from "vitest";
import {
  lintBasePlatform,
  lintIgnored,
  lintPort,
  lintShellForm,
  lintTriggers,
  lintUnset,
  lintViolation,
  lintWorkdir,
  locate,
  parseCheck,
  parseTrigger,
  planStages,
  type Diagnostic,
  type StagePlan,
} from "../../src/dockerfile/index.js";
import { one, parse } from "./support.js";

const AMD64 = { os: "linux", architecture: "amd64" };

const ARM64 = { os: "linux", architecture: "arm64" };

function plan(text: string, args: Record<string, string> = {}): StagePlan {
  return planStages(parse(text), {
    buildArgs: new Map(Object.entries(args)),
    buildPlatform: AMD64,
    targetPlatform: AMD64,
  });
}

function lint(text: string, args: Record<string, string> = {}): readonly Diagnostic[] {
  return [...parse(text).warnings, ...plan(text, args).warnings];
}

function shown(warnings: readonly Diagnostic[]): readonly string[] {
  return warnings.map(({ code, message, span }) => `${locate(span).line} ${code}: ${message}`);
}

describe("a rule fires", () => {
  test.each<[string, readonly string[]]>([
    ["FROM scratch AS Base", ["1 StageNameCasing: Stage name 'Base' should be lowercase"]],
    ["FROM scratch as base", ["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"]],
    ["from scratch AS base", ["1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"]],
    ["FROM scratch\nLABEL a=b \\\n\n  c=d", ["3 NoEmptyContinuation: Empty continuation line"]],
    [
      "FROM scratch\nenv a=b\nENV c=d",
      [
        "2 ConsistentInstructionCasing: Command 'env' should match the case of the command majority (uppercase)",
      ],
    ],
    [
      "from scratch\nenv a=b\nENV c=d",
      [
        "3 ConsistentInstructionCasing: Command 'ENV' should match the case of the command majority (lowercase)",
      ],
    ],
    [
      "FROM scratch\nEnv a=b",
      [
        "2 ConsistentInstructionCasing: Command 'Env' should match the case of the command majority (uppercase)",
      ],
    ],
    [
      "FROM a AS x\nFROM b AS x",
      [`2 DuplicateStageName: Duplicate stage name "x", stage names should be unique`],
    ],
    [
      "FROM a AS scratch",
      [`1 ReservedStageName: Stage name should not use the same name as reserved stage "scratch"`],
    ],
    [
      "FROM scratch\nMAINTAINER me",
      ["2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
    ],
    [
      'FROM scratch\nCMD ["a"]\nHEALTHCHECK NONE\ncmd ["b"]\nHEALTHCHECK CMD x',
      [
        "4 ConsistentInstructionCasing: Command 'cmd' should match the case of the command majority (uppercase)",
        "2 MultipleInstructionsDisallowed: Multiple cmd instructions should not be used in the same stage because only the last one will be used",
        "3 MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used",
      ],
    ],
    [
      "FROM scratch\nENV a b\nLABEL c d",
      [
        '2 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format',
        '3 LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format',
      ],
    ],
    [
      "FROM scratch\nARG MY_PASSWORD PUBLIC_KEY\nENV API_TOKEN=$x",
      [
        '2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "MY_PASSWORD")',
        '3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "API_TOKEN")',
      ],
    ],
    [
      "ARG VERSION=1\nFROM a:${VERSOIN:-1}",
      ["2 UndefinedArgInFrom: FROM argument 'VERSOIN' is not declared (did you mean VERSION?)"],
    ],
    [
      "FROM --platform=${TARGETPLATFORM} a",
      [
        "1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior",
      ],
    ],
    [
      "FROM --platform=linux/amd64 a",
      [
        '1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"',
      ],
    ],
    [
      "# check=experimental=all\n# a comment\nFROM a AS base\n# foo is it\nARG foo\n# no\nARG b c",
      [
        "3 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`",
        "7 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
      ],
    ],
  ])("%j", (text, expected) => expect(shown(lint(text))).toEqual(expected));

  test("when an ARG's default alone is no image", () => {
    const text = "ARG IMG\nARG OK=x\nFROM scratch${IMG:+x}$OK AS q\nFROM $IMG";
    expect(shown(lint(text, { IMG: "scratch" }))).toEqual([
      "4 InvalidDefaultArgInFrom: Default value for ARG $IMG results in empty or invalid base image name",
    ]);
  });
});

describe("a rule does not fire", () => {
  test.each([
    "FROM scratch AS base\nENV a=b",
    "from scratch as base\nenv a=b",
    "From scratch aS base".toUpperCase().replace("SCRATCH", "scratch").replace("BASE", "base"),
    "FROM scratch\nRUN a \\\n  # comment\n  b",
    'FROM scratch\nSHELL ["a"]\nCMD a',
    'FROM scratch AS a\nSHELL ["a"]\nFROM a AS b\nFROM b\nENTRYPOINT a',
    'FROM scratch AS a\nCMD ["a"]\nFROM a\nCMD ["a"]',
    "ARG P=linux/amd64\nFROM --platform=$P a",
    "FROM --platform=$BUILDPLATFORM a",
    "FROM --platform=linux/amd64 a AS build-amd64",
    "ARG A\nFROM a:${A:-1}$TARGETARCH",
    "# a comment\nFROM a AS base",
    "FROM a AS unused\nENV a b\nCMD x\nFROM scratch",
    "ARG PASSWORD=x\nFROM scratch",
  ])("%j", (text) => expect(shown(lint(text))).toEqual([]));

  test.each([
    "# check=skip=all\nFROM scratch AS X\nENV a b",
    "# check=skip=StageNameCasing,LegacyKeyValueFormat\nFROM scratch AS X\nENV a b",
    "# check=skip=StageNameCasing\nFROM scratch AS X\n# check=skip=LegacyKeyValueFormat is fine\nENV a b",
    "#\n# check=skip=all\nFROM scratch AS X",
  ])("where it is switched off: %j", (text) => expect(shown(lint(text))).toEqual([]));
});

test("an indented comment switches nothing off", () => {
  expect(lint("FROM scratch\n  # check=skip=all\nENV a b")).toHaveLength(1);
});

test("a comment switches rules off for its own instruction only", () => {
  const text = "FROM scratch\n# check=skip=all\nENV a b\nENV c d";
  expect(lint(text).map(({ span }) => locate(span).line)).toEqual([4]);
});

test("warnings fail a build that asks for it, each rule named once", () => {
  const text = "# check=error=true\nFROM scratch AS X\nENV a b\nENV c d";
  expect(lintViolation(lint(text), parse(text).check)).toBe(
    "lint violation found for rules: LegacyKeyValueFormat, StageNameCasing",
  );
  expect(lintViolation(lint(text), parseCheck(""))).toBeUndefined();
  expect(lintViolation([], parse(text).check)).toBeUndefined();
});

test.each([
  ["#\n# check=skip=all\nFROM a AS scratch", "ReservedStageName"],
  ["FROM a AS x\n# check=skip=all\nFROM b AS x", "DuplicateStageName"],
  ["FROM a\n# check=skip=all\nenv a=b", "ConsistentInstructionCasing"],
  ["# b\n# check=skip=all\nFROM a\nRUN a\\\n\nb", "NoEmptyContinuation"],
])("a comment does not switch off a rule about more than its instruction: %j", (text, rule) => {
  expect(lint(text).map(({ code }) => code)).toEqual([rule]);
});

test("triggers that a base image left are checked with the stage's instructions, each thing once", () => {
  const { all, check } = plan('FROM a\nCMD ["x"]\nCMD ["y"]\nENV a b');
  const [planned] = all;
  const triggers = ['CMD ["z"]', "ENV c d"].map((text) => parseTrigger(text, "ONBUILD of a"));
  const found = planned === undefined ? [] : lintTriggers(triggers, planned, check);
  expect(found.map(({ code, span }) => [code, span.file.path])).toEqual([
    ["LegacyKeyValueFormat", "ONBUILD of a"],
    ["MultipleInstructionsDisallowed", "ONBUILD of a"],
  ]);
  expect(planned && lintTriggers([], planned, check)).toEqual([]);
});

describe("rules about expanded text", () => {
  const at = one("RUN", "RUN x");
  const check = parseCheck("");
  const messages = (warnings: readonly Diagnostic[]): readonly string[] =>
    warnings.map(({ code, message }) => `${code}: ${message}`);

  test("say what is wrong", () => {
    expect(
      messages(lintUnset(["FO", "ARG", "ZZZZ"], new Set(["ARG"]), ["FOO"], at, check)),
    ).toEqual([
      "UndefinedVar: Usage of undefined variable '$FO' (did you mean $FOO?)",
      "UndefinedVar: Usage of undefined variable '$ZZZZ'",
    ]);
    expect(messages(lintWorkdir("app", at, check))).toEqual([
      'WorkdirRelativePath: Relative workdir "app" can have unexpected results if the base image changes',
    ]);
    expect(messages(lintPort("127.0.0.1:80:80/TCP", at, check))).toEqual([
      "ExposeProtoCasing: Defined protocol '127.0.0.1:80:80/TCP' in EXPOSE instruction should be lowercase",
      "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80/TCP'",
    ]);
    expect(messages(lintIgnored("a", { ...at, kind: "ADD" }, check))).toEqual([
      'CopyIgnoredFile: Attempting to Add file "a" that is excluded by .dockerignore',
    ]);
    const windows = { os: "windows", architecture: "amd64", osVersion: "10.0.1" };
    expect(messages(lintBasePlatform("a", ARM64, windows, at, check))).toEqual([
      'InvalidBaseImagePlatform: Base image a was pulled with platform "windows(10.0.1)/amd64", expected "linux/arm64" for current build',
    ]);
    expect(messages(lintShellForm(one("CMD", "CMD a"), check))).toEqual([
      "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
    ]);
    // The name of nothing is no suggestion.
    expect(messages(lintUnset(["A"], new Set(), [""], at, check))).toEqual([
      "UndefinedVar: Usage of undefined variable '$A'",
    ]);
  });

  test("say nothing where nothing is", () => {
    expect(lintUnset([], new Set(), [], at, check)).toEqual([]);
    expect(lintPort("80/tcp", at, check)).toEqual([]);
    expect(lintBasePlatform("a", ARM64, { ...ARM64, variant: "v9" }, at, check)).toEqual([]);
    expect(lintShellForm(one("CMD", 'CMD ["a"]'), check)).toEqual([]);
    expect(lintWorkdir("app", at, parseCheck("skip=all"))).toEqual([]);
  });
});
