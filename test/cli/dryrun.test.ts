import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { planText } from "../../src/cli/render/plan.js";
import { build, plan, type BuildOptions, type ExplainedStep } from "../../src/index.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { run, tempDir } from "../support/tools.js";

test("a plan names the stages, what the cache has of their steps, and where the result goes", () => {
  const step: ExplainedStep = {
    stage: "make",
    from: "FROM debian:12 AS make",
    text: "COPY <<EOF /a\nx\nEOF",
    line: 2,
    isCached: true,
    because: [],
  };
  const next = { ...step, text: "RUN make", line: 5, isCached: false, because: ["/a: changed"] };
  const last = { ...step, stage: "stage-1", from: "FROM scratch", text: "COPY b /", line: 12 };
  const steps = [step, next, last, step];
  expect(planText({ steps, pushed: ["h/app:1"], written: ["image.tar"] })).toBe(
    `make: FROM debian:12 AS make
  HIT     2  COPY <<EOF /a
  MISS    5  RUN make
             /a: changed
stage-1: FROM scratch
  HIT    12  COPY b /
make: FROM debian:12 AS make
  HIT     2  COPY <<EOF /a
push h/app:1
write image.tar
`,
  );
});

describeUnless([lacksBuild()], "--dryrun", () => {
  test("tells what a build would do, and asks no registry for anything but bases", async () => {
    await using dir = await tempDir("tsbuild-dryrun-");
    await using registry = await startMemoryRegistry();
    const [context, store, tar] = ["context", "store", "image.tar"].map((name) =>
      join(dir.path, name),
    ) as [string, string, string];
    await mkdir(context);
    await writeFile(join(context, "Dockerfile"), "FROM scratch\nCOPY a /\nCOPY b /\n");
    for (const name of ["a", "b"]) await writeFile(join(context, name), name);
    const destinations = [`${registry.host}/app:1`];
    const options: BuildOptions = { context, store, destinations, tarPath: tar };
    await build({ context, store, push: false, destinations });
    await writeFile(join(context, "b"), "other");

    const planned = await plan(options);
    expect(planned.steps.map(({ text, isCached }) => [text, isCached])).toEqual([
      ["COPY a /", true],
      ["COPY b /", false],
    ]);
    expect(planned).toMatchObject({ pushed: destinations, written: [tar] });
    const anew = await plan({ ...options, cache: false });
    expect(anew.steps.map(({ isCached }) => isCached)).toEqual([false, false]);

    const flags = [`--context=${context}`, `--store=${store}`, `-d=${destinations[0]}`];
    const main = join(CHECKOUT, "bin/tsbuild.js");
    const done = await run(process.execPath, [main, ...flags, `--tar-path=${tar}`, "--dryrun"]);
    expect(done).toMatchObject({ code: 0, stderr: "" });
    const lines = done.stdout.split("\n");
    expect(lines.slice(0, 3)).toEqual([
      "stage-0: FROM scratch",
      "  HIT     2  COPY a /",
      "  MISS    3  COPY b /",
    ]);
    expect(lines.slice(-3)).toEqual([`push ${destinations[0]}`, `write ${tar}`, ""]);
    expect(existsSync(tar)).toBe(false);
    expect(registry.requests).toEqual([]);
  });

  test("refuses what a build would refuse", async () => {
    const main = join(CHECKOUT, "bin/tsbuild.js");
    const done = await run(process.execPath, [main, "--dryrun", "--context=/nowhere"]);
    expect(done.code).toBe(64);
    expect(done.stderr).toContain("destination");
  });
});
