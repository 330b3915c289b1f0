import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

describeUnless(LACKS, "lint rules", () => {
  const bench = useBench();
  const rules = (warnings: readonly string[]): readonly string[] => [
    ...new Set(warnings.map((text) => text.split(":")[0] ?? "")),
  ];

  test("what the lines, the plan and the expanded words show is warned of, with its place", async () => {
    const built = await bench.build([
      "ARG unset",
      "FROM scratch as Upper",
      "MAINTAINER me",
      "workdir relative",
      "ENV legacy value",
      "ENV API_TOKEN=x",
      "LABEL a=$undefinedd undefined=$legacyy",
      "EXPOSE 80/TCP 127.0.0.1:90:91",
      "CMD shell form",
      "CMD again",
      "ENTRYPOINT shell \\",
      "",
      "  form",
      "FROM scratch AS scratch",
      "FROM --platform=$TARGETPLATFORM upper",
    ]);
    expect([...rules(built.warnings)].sort()).toEqual(
      [
        "ConsistentInstructionCasing",
        "ExposeInvalidFormat",
        "ExposeProtoCasing",
        "FromAsCasing",
        "JSONArgsRecommended",
        "LegacyKeyValueFormat",
        "MaintainerDeprecated",
        "MultipleInstructionsDisallowed",
        "NoEmptyContinuation",
        "RedundantTargetPlatform",
        "ReservedStageName",
        "SecretsUsedInArgOrEnv",
        "StageNameCasing",
        "UndefinedVar",
        "WorkdirRelativePath",
      ].sort(),
    );
    expect(built.warnings.find((text) => text.includes("legacyy"))).toMatch(
      /did you mean \$?legacy/,
    );
  });

  test("a clean Dockerfile has no warnings", async () => {
    const built = await bench.build([
      "# syntax=docker/dockerfile:1",
      "ARG BASE=busybox",
      "FROM ${BASE} AS base",
      "ARG UNSET",
      "WORKDIR /w",
      "WORKDIR sub",
      "ENV A=$UNSET",
      "EXPOSE 80/tcp",
      'CMD ["sh"]',
      "FROM base",
      "LABEL c=$A",
    ]);
    expect(built.warnings).toEqual([]);
  });

  test("rules are skipped by the file, by the line above, and by a build argument", async () => {
    const lines = ["FROM scratch", "MAINTAINER me", "ENV a b"];
    const file = await bench.build(["# check=skip=MaintainerDeprecated", ...lines]);
    expect(rules(file.warnings)).toEqual(["LegacyKeyValueFormat"]);
    const above = await bench.build([
      "FROM scratch",
      "# check=skip=MaintainerDeprecated",
      "MAINTAINER me",
      "ENV a b",
    ]);
    expect(rules(above.warnings)).toEqual(["LegacyKeyValueFormat"]);
    const all = await bench.build(lines, { buildArgs: { BUILDKIT_DOCKERFILE_CHECK: "skip=all" } });
    expect(all.warnings).toEqual([]);
  });

  test("check=error=true fails the build before anything runs, and says which rules", async () => {
    const failed = await bench.fails([
      "# check=error=true",
      "FROM busybox",
      "RUN echo ran",
      "ENV a b",
      "MAINTAINER me",
    ]);
    expect(failed.message).toMatch(
      /lint violation found for rules: (LegacyKeyValueFormat, MaintainerDeprecated|MaintainerDeprecated, LegacyKeyValueFormat)/,
    );
    expect(failed.exitCode).toBe(65);
    expect(failed.output).toBe("");
    expect(failed.warnings).toHaveLength(2);
  });

  test("stages that the target does not need are checked for what needs no variables", async () => {
    const built = await bench.build(
      ["FROM scratch AS wanted", "LABEL a=b", "FROM scratch AS Other", "LABEL a=$nothing"],
      { target: "wanted" },
    );
    expect(rules(built.warnings)).toEqual(["StageNameCasing"]);
  });

  test("an image that is copied or mounted from is the target's, whatever the stage is for", async () => {
    const built = await bench.build(
      [
        "FROM --platform=$BUILDPLATFORM busybox",
        "COPY --from=busybox /etc/passwd /p",
        "RUN --mount=from=busybox,target=/m true",
      ],
      { platform: "linux/s390x" },
    );
    const rule = "InvalidBaseImagePlatform";
    expect(built.warnings.map((text) => text.split(":")[0])).toEqual([rule, rule]);
  });

  test("a base of another platform is warned of", async () => {
    const built = await bench.build(["FROM busybox", "LABEL a=b"], { platform: "linux/s390x" });
    expect(rules(built.warnings)).toEqual(["InvalidBaseImagePlatform"]);
    expect(built.warnings[0]).toMatch(/busybox.*expected "linux\/s390x"/);
  });
});
