import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { timedScreen } from "../../src/cli/render/screen.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { run, tempDir } from "../support/tools.js";

test("each line of a log begins with the time, the status line does not", () => {
  const seen: string[] = [];
  const screen = timedScreen(
    { line: (text) => void seen.push(text), status: (text) => void seen.push(`status ${text}`) },
    () => new Date(1_700_000_000_123),
  );
  screen.line("one\ntwo");
  screen.line("");
  screen.status("working");
  const time = "2023-11-14T22:13:20.123Z";
  expect(seen).toEqual([`${time} one\n${time} two`, `${time} `, "status working"]);
});

describeUnless([lacksBuild()], "the command", () => {
  const stderrOf = async (...flags: readonly string[]): Promise<readonly string[]> => {
    await using dir = await tempDir("tsbuild-times-");
    await writeFile(join(dir.path, "Dockerfile"), "FROM scratch\nCOPY Dockerfile /\nCOPY none /\n");
    const main = join(CHECKOUT, "bin/tsbuild.js");
    const place = [`--context=${dir.path}`, `--store=${join(dir.path, "store")}`, "--no-push"];
    const done = await run(process.execPath, [main, ...place, "--use-new-run", ...flags]);
    return done.stderr.split("\n").filter((line) => line !== "");
  };

  test("says the time of all that it says", async () => {
    const lines = await stderrOf("--log-timestamp");
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z( |$)/);
    expect((await stderrOf()).every((line) => !/^\d{4}-/.test(line))).toBe(true);
  });

  test("has it in its JSON anyway", async () => {
    const lines = await stderrOf("--log-format=json", "--log-timestamp", "-v=error");
    const events = lines.filter((line) => line.startsWith("{"));
    expect(events.length).toBeGreaterThan(1);
    for (const line of events) expect(JSON.parse(line)).toHaveProperty("time");
  });
});
