import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseFlags } from "../../src/cli/parse-flags.js";
import { runCheck } from "../../src/cli/run-check.js";
import { DockerfileError } from "../../src/index.js";
import { builder, lacksBuild } from "../support/tools-cli.js";
import { run } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-check-"));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

async function checked(
  dockerfile: string,
  ...argv: readonly string[]
): Promise<{ readonly code: number | DockerfileError; readonly printed: string }> {
  writeFileSync(join(root, "Dockerfile"), dockerfile);
  const out = new PassThrough();
  const flags = parseFlags(["check", "-c", root, "--store", join(root, "store"), ...argv]);
  const code = await runCheck(flags, {}, out, new AbortController().signal).catch(
    (error: unknown) => {
      if (error instanceof DockerfileError) return error;
      throw error;
    },
  );
  out.end();
  return { code, printed: await text(out) };
}

describe("tsbuild check", () => {
  test("ends with 0 when nothing was found, else with 1", async () => {
    expect(await checked("FROM scratch\nENV a=b\n")).toEqual({
      code: 0,
      printed: "Check complete, no warnings found.\n",
    });
    const { code, printed } = await checked("FROM scratch\nENV a b\n");
    expect(code).toBe(1);
    expect(printed).toContain("Check complete, 1 warning has been found!");
  });

  test("with --format=json says a Dockerfile's error in JSON too, and ends as a build does", async () => {
    const { code, printed } = await checked("FROM scratch\nENVY a b\n", "--format=json");
    expect(code).toMatchObject({ exitCode: 65 });
    expect(JSON.parse(printed)).toMatchObject({
      warnings: [],
      buildError: {
        message: expect.stringContaining("ENVY"),
        location: { ranges: [{ start: { line: 2 }, end: { line: 2 } }] },
      },
    });
  });
});

describeUnless([lacksBuild()], "the command", () => {
  test("writes a tar to standard output, and messages elsewhere", async () => {
    writeFileSync(join(root, "Dockerfile"), "FROM scratch\nCOPY Dockerfile /sub/\n");
    const tsbuild = builder({ store: join(root, "store") });
    const command = tsbuild.argv(["-c", root, "-o", "-"]);
    const { code, stdout, stderr } = await run("sh", ["-c", '"$@" | tar -tf -', "sh", ...command]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "sub/\nsub/Dockerfile\n" });
    expect(stderr).toContain("built sha256:");
  });
});
