import { expect, test } from "vitest";
import { checkJson, checkText } from "../../src/cli/render/check.js";
import { RULES } from "../../src/cli/render/rules.js";
import { locate, parseDockerfile, planStages } from "../../src/dockerfile/index.js";
import type { Diagnostic } from "../../src/dockerfile/types.js";

const TEXT = [
  "FROM scratch",
  "COPY a \\",
  "  # a comment \u001b[31m",
  "",
  "  /a",
  "ENV A b",
  "CMD ls",
  "MAINTAINER me \\",
  "  and you",
  "",
].join("\n");

function warningsOf(text: string): readonly Diagnostic[] {
  const dockerfile = parseDockerfile({ path: "Dockerfile", text }, {});
  const platform = { os: "linux", architecture: "amd64" };
  const plan = planStages(dockerfile, {
    buildArgs: new Map(),
    buildPlatform: platform,
    targetPlatform: platform,
    contexts: new Set(),
  });
  return [...dockerfile.warnings, ...plan.warnings];
}

test("each warning has its rule, what the rule asks for, its message and its lines", () => {
  const env = warningsOf(TEXT).filter(({ code }) => code === "LegacyKeyValueFormat");
  expect(checkText(env, locate)).toBe(
    [
      "Check complete, 1 warning has been found!",
      "",
      "WARNING: LegacyKeyValueFormat - ENV and LABEL are written with an equals sign",
      '"ENV key=value" should be used instead of legacy "ENV key value" format',
      "Dockerfile:6",
      "--------------------",
      "   4 |",
      "   5 |       /a",
      "   6 | >>> ENV A b",
      "   7 |     CMD ls",
      "   8 |     MAINTAINER me \\",
      "--------------------",
      "",
    ].join("\n"),
  );
});

test("an instruction of several lines is marked whole, and no escape reaches the terminal", () => {
  const found = warningsOf(TEXT);
  const text = checkText(found, locate);
  expect(text).toContain("   8 | >>> MAINTAINER me \\\n   9 | >>>   and you\n------");
  expect(text).toContain("   4 | >>>\n");
  expect(text).toContain("# a comment \uFFFD[31m");
  expect(text).not.toContain("\u001b");
});

test("nothing found is said", () => {
  expect(checkText([], locate)).toBe("Check complete, no warnings found.\n");
});

test("the JSON has BuildKit's shape, with the source once", () => {
  const found = warningsOf(TEXT);
  const results: unknown = JSON.parse(checkJson(found, locate));
  expect(found.length).toBeGreaterThan(2);
  expect(results).toEqual({
    warnings: found.map((one) => ({
      ruleName: one.code,
      description: RULES[one.code],
      detail: one.message,
      location: {
        ranges: [{ start: { line: expect.any(Number) }, end: { line: expect.any(Number) } }],
      },
    })),
    sources: [
      {
        filename: "Dockerfile",
        language: "Dockerfile",
        data: Buffer.from(TEXT).toString("base64"),
      },
    ],
  });
});
