import { describe, expect, test } from "vitest";
import {
  parseTrigger,
  planStages,
  resolveFrom,
  withTriggers,
  type PlanOptions,
  type StagePlan,
} from "../../src/dockerfile/index.js";
import { errorsOf, parse } from "./support.js";

const AMD64 = { os: "linux", architecture: "amd64" };
const ARM = { os: "linux", architecture: "arm", variant: "v7" };

function plan(
  text: string,
  options: Partial<PlanOptions> & { args?: Record<string, string> } = {},
): StagePlan {
  const { args = {}, ...rest } = options;
  return planStages(parse(text), {
    buildArgs: new Map(Object.entries(args)),
    buildPlatform: AMD64,
    targetPlatform: AMD64,
    ...rest,
  });
}

function bases(found: StagePlan): readonly unknown[] {
  return [...found.stages.values()].map(({ base }) => base);
}

describe("what a stage starts from", () => {
  test("scratch, an image, an earlier stage, the later of two with one name", () => {
    const found = plan(
      "FROM scratch AS A\nFROM alpine AS b\nFROM a AS a\nCOPY --from=b x y\nFROM a",
    );
    expect(bases(found)).toEqual([
      { kind: "scratch" },
      { kind: "image", name: "alpine" },
      { kind: "stage", index: 0 },
      { kind: "stage", index: 2 },
    ]);
  });

  test("a stage must be named in lower case; a later stage or itself is an image", () => {
    expect(errorsOf(() => plan("FROM scratch AS One\nFROM One")).join()).toContain(
      "repository name must be lowercase",
    );
    expect(bases(plan("FROM b AS a\nFROM scratch AS b", { target: "a" }))).toEqual([
      { kind: "image", name: "b" },
    ]);
    expect(bases(plan("FROM busybox AS busybox"))).toEqual([{ kind: "image", name: "busybox" }]);
  });

  test("variables come from global ARGs, build arguments and the platforms", () => {
    const text = 'ARG V=1\nARG IMG=a:${V}-$TARGETARCH\nARG NONE\nFROM "$IMG"$NONE${X:-}';
    expect(bases(plan(text))).toEqual([{ kind: "image", name: "a:1-amd64" }]);
    expect(bases(plan(text, { args: { V: "2" } }))).toEqual([{ kind: "image", name: "a:2-amd64" }]);
    expect(errorsOf(() => plan(text, { args: { IMG: "$V" } })).join()).toContain('"$V"');
    expect(plan(`${text}\nFROM scratch`, { args: { V: "_" } }).globalArgs.get("IMG")).toBe(
      "a:_-amd64",
    );
  });

  test("a default that fails is not looked at when a build argument is given", () => {
    const text = "ARG A=${A:?needed}\nFROM scratch";
    expect(errorsOf(() => plan(text))).toEqual(["1:7 A: needed"]);
    expect(plan(text, { args: { A: "x" } }).globalArgs.get("A")).toBe("x");
  });

  test.each([
    ["FROM $NOPE", "1:6 base name ($NOPE) should not be blank"],
    ["FROM a${", "1:6 syntax error: missing '}'"],
    ["FROM $NOPE\nFROM scratch", "1:6 base name ($NOPE) should not be blank"],
    ["FROM --platform=$NOPE a", "1:6 empty platform value from expression $NOPE"],
    [
      "FROM --platform=$TARGETPLATFROM a",
      "1:6 empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)",
    ],
    [
      "FROM --platform=a/b/c/d a",
      '1:6 failed to parse platform a/b/c/d: "a/b/c/d" is not a platform',
    ],
  ])("%s is refused", (text, expected) => {
    expect(errorsOf(() => plan(text))).toEqual([expected]);
  });

  test.each([
    ["FROM a:\nFROM scratch", "1:6"],
    ["FROM scratch AS a\nCOPY --from=B / /\nFROM scratch", "2:6"],
    ["FROM scratch AS a\nRUN --mount=from=%,target=/x b\nFROM scratch", "2:5"],
  ])("a name that no image can have is refused where nothing needs it, too: %j", (text, place) => {
    expect(errorsOf(() => plan(text)).join()).toContain(`${place} invalid reference format`);
  });

  test("an empty platform flag is none", () => {
    expect(plan("FROM --platform= scratch").warnings).toEqual([]);
  });

  test("all of them are reported together", () => {
    expect(errorsOf(() => plan("ARG A=${\nFROM $A\nFROM $B"))).toHaveLength(3);
  });
});

describe("platforms", () => {
  test("of a FROM, else of the stage below, else the target's; scratch has the target's", () => {
    const text = [
      "FROM --platform=$BUILDPLATFORM a AS a",
      "FROM --platform=arm64 a AS b",
      "FROM --platform=linux/arm64/v8 x AS c",
      "FROM --platform=windows scratch AS d",
      "FROM y\nCOPY --from=b / /\nCOPY --from=c / /\nCOPY --from=d / /",
    ].join("\n");
    const found = plan(text, { targetPlatform: ARM });
    expect([...found.stages.values()].map(({ platform }) => platform)).toEqual([
      AMD64,
      AMD64,
      { os: "linux", architecture: "arm64" },
      undefined,
      undefined,
    ]);
  });

  test("are arguments that need no declaration before the first FROM, and can be overridden", () => {
    const { globalArgs } = plan("FROM scratch AS One", {
      targetPlatform: { os: "windows", architecture: "amd64", osVersion: "10.0.1" },
      args: { BUILDARCH: "z" },
    });
    expect(Object.fromEntries(globalArgs)).toEqual({
      BUILDPLATFORM: "linux/amd64",
      BUILDOS: "linux",
      BUILDOSVERSION: "",
      BUILDARCH: "z",
      BUILDVARIANT: "",

      TARGETPLATFORM: "windows(10.0.1)/amd64",
      TARGETOS: "windows",
      TARGETOSVERSION: "10.0.1",
      TARGETARCH: "amd64",
      TARGETVARIANT: "",
      TARGETSTAGE: "one",
    });
    expect(plan("FROM scratch").globalArgs.get("TARGETSTAGE")).toBe("default");
    expect(plan("FROM scratch", { targetPlatform: ARM }).globalArgs.get("TARGETPLATFORM")).toBe(
      "linux/arm/v7",
    );
  });
});

describe("the target", () => {
  const text = "FROM scratch AS Base\nFROM base AS build\nFROM scratch AS other\nFROM scratch";

  test.each([
    [undefined, 3],
    ["", 3],
    ["build", 1],
    ["BUILD", 1],
  ])("%s is stage %s", (target, index) => {
    expect(plan(text, target === undefined ? {} : { target }).target).toBe(index);
  });

  test("drops the stages that it does not need", () => {
    expect([...plan(text, { target: "build" }).stages.keys()]).toEqual([0, 1]);
    expect([...plan(text).stages.keys()]).toEqual([3]);
  });

  test("that does not exist is refused with the list of stages", () => {
    const error = (): unknown => plan(text, { target: "biuld" });
    expect(error).toThrow('target stage "biuld" could not be found (did you mean build?)');
    expect(error).toThrow("the stages are: Base, build, other, stage-3");
    // A number names no stage: BuildKit's rule.
    expect(errorsOf(() => plan(text, { target: "2" }))).toEqual([
      '4:1 target stage "2" could not be found',
    ]);
  });
});

describe("sources in other stages", () => {
  test("are found by name in any case or by number, and needed", () => {
    const found = plan(
      [
        "FROM scratch AS a\nFROM scratch AS B\nFROM scratch AS c\nFROM scratch AS unused",
        "FROM scratch",
        "COPY --from=A x y\nCOPY --from=1 x y\nRUN --mount=from=C,target=/c true\nCOPY --from=alpine x y",
      ].join("\n"),
    );
    expect([...found.stages.keys()]).toEqual([0, 1, 2, 4]);
    expect([...(found.stages.get(4)?.needs ?? [])]).toEqual([0, 1, 2]);
    expect(
      ["A", "1", "c", "alpine", "scratch", "7"].map((name) => resolveFrom(found, 4, name)),
    ).toEqual([
      { kind: "stage", index: 0 },
      { kind: "stage", index: 1 },
      { kind: "stage", index: 2 },
      { kind: "image", name: "alpine" },
      { kind: "scratch" },
      { kind: "image", name: "7" },
    ]);
  });

  test.each([
    ["FROM a AS x\nCOPY --from=x a b", "2:6 circular dependency detected on stage: x"],
    // A mount without a source counts as one from "scratch", and a stage may have that name.
    [
      "FROM a AS scratch\nRUN --mount=type=tmpfs,target=/x true",
      "2:5 circular dependency detected on stage: scratch",
    ],
    ["FROM a\nCOPY --from=0 a b", "2:6 circular dependency detected on stage: stage-0"],
    [
      "FROM a AS X\nCOPY --from=y a b\nFROM a AS y\nRUN --mount=from=x,target=/x true\nFROM scratch",
      "4:5 circular dependency detected on stage: y",
    ],
    [
      "FROM a AS x\nCOPY --from=y a b\nFROM a AS y\nFROM x",
      '2:6 cannot copy from stage "y", it needs to be defined before current stage "x"',
    ],
    [
      "FROM a\nRUN --mount=from=y,target=/t true\nFROM a AS y\nFROM a AS z\nCOPY --from=0 a b",
      '2:5 cannot mount from stage "y" to "/t", stage needs to be defined before current command',
    ],
    ["FROM a\nCOPY --from=3 a b", "2:6 invalid stage index 3"],
    ["FROM a\nCOPY --from=-1 a b", "2:6 invalid stage index -1"],
  ])("%j is refused", (text, expected) => expect(errorsOf(() => plan(text))).toEqual([expected]));

  test("a later stage is no error where nothing needs the stage that names it", () => {
    expect([...plan("FROM a\nCOPY --from=y a b\nFROM a AS y").stages.keys()]).toEqual([1]);
  });

  test("a chain of many thousand stages does not fill the stack", () => {
    const lines = ["FROM scratch AS s0"];
    for (let at = 1; at < 12_000; at += 1)
      lines.push(`FROM s${at - 1} AS s${at}\nCOPY --from=s${at - 1} a b`);
    expect(plan(lines.join("\n")).stages.size).toBe(12_000);
  });
});

describe("ONBUILD", () => {
  test("of the base stage makes what it copies from needed", () => {
    const found = plan(
      "FROM a AS tools\nFROM b AS base\nONBUILD COPY --from=tools x y\nFROM base AS mid\nFROM mid",
    );
    expect([...found.stages.keys()]).toEqual([0, 1, 2, 3]);
    expect(found.stages.get(2)?.triggers.map(({ text }) => text)).toEqual([
      "COPY --from=tools x y",
    ]);
    expect(found.stages.get(3)?.triggers).toEqual([]);
  });

  test("of a base image adds to the plan once it is known", () => {
    const found = plan("FROM a AS tools\nENV a b\nFROM b");
    expect([...found.stages.keys()]).toEqual([1]);
    const more = withTriggers(found, 1, [parseTrigger("COPY --from=tools x y", "ONBUILD")]);
    expect([...more.stages.keys()]).toEqual([0, 1]);
    expect(more.warnings.map(({ code }) => code)).toEqual(["LegacyKeyValueFormat"]);
  });

  test("that cannot be read is an error for the stage that runs it only", () => {
    const text = "FROM a AS base\nONBUILD RNU x\nFROM base AS child\nFROM scratch";
    expect([...plan(text).stages.keys()]).toEqual([2]);
    expect(errorsOf(() => plan(text, { target: "child" }))[0]).toContain(
      "unknown instruction: RNU",
    );
  });
});

describe("named contexts", () => {
  const contexts = new Set(["Base", "docker.io/library/busybox", "files"]);

  test("take the place of stages, images and sources", () => {
    const found = plan(
      "FROM alpine AS base\nRUN x\nFROM busybox:latest\nCOPY --from=base a b\nCOPY --from=files a b",
      { contexts },
    );
    expect(bases(found)).toEqual([{ kind: "context", name: "docker.io/library/busybox" }]);
    expect(found.all[0]).toMatchObject({
      base: { kind: "context", name: "base" },
      stage: { instructions: [] },
    });
    expect(
      ["BASE", "files", "busybox", "busybox:1"].map((name) => resolveFrom(found, 1, name)),
    ).toEqual([
      { kind: "context", name: "base" },
      { kind: "context", name: "files" },
      { kind: "context", name: "docker.io/library/busybox" },
      { kind: "image", name: "busybox:1" },
    ]);
  });

  test("that are for a platform come first, for a FROM of that platform and for what is copied from", () => {
    const own = new Set([
      "base::linux/amd64",
      "base",
      "docker.io/library/alpine::linux/arm/v7",
      "one::linux/amd64",
    ]);
    const text = `FROM base AS native
FROM --platform=linux/arm/v7 base AS arm
FROM --platform=linux/arm/v7 alpine:latest AS both
FROM alpine AS plain
FROM scratch AS one
FROM --platform=linux/arm/v7 scratch AS two
COPY --from=base a /
COPY --from=native a /
COPY --from=arm a /
COPY --from=both a /
COPY --from=plain a /
COPY --from=one a /
`;
    const found = plan(text, { contexts: own });
    expect(bases(found)).toEqual([
      { kind: "context", name: "base::linux/amd64" },
      { kind: "context", name: "base" },
      { kind: "context", name: "docker.io/library/alpine::linux/arm/v7" },
      { kind: "image", name: "alpine" },
      { kind: "scratch" },
    ]);
    expect(resolveFrom(found, 5, "BASE")).toEqual({ kind: "context", name: "base::linux/amd64" });
    expect(resolveFrom(found, 5, "alpine")).toEqual({ kind: "image", name: "alpine" });
    const other = plan(text, { contexts: own, targetPlatform: ARM });
    expect(resolveFrom(other, 5, "base")).toEqual({ kind: "context", name: "base" });
    expect(other.all[0]?.base).toEqual({ kind: "context", name: "base" });
  });
});
