import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { lacksRoot, lacksTools, run, tempDir } from "../support/tools.js";

const SCRIPT = join(import.meta.dirname, "../../bench/run.mjs");
const lacks =
  lacksRoot() ?? lacksTools("buildah", "docker-registry", "skopeo", "newuidmap", "busybox");

interface Run {
  readonly workload: string;
  readonly temperature: string;
  readonly tool: string;
  readonly group: string;
  readonly round: number;
  readonly code: number;
  readonly wrong?: string;
  readonly wall: number;
  readonly cpu: number;
  readonly peak: number;
  readonly requests: number;
  readonly connections: number;
  readonly blobs: number;
}

interface Kept {
  readonly calibrations: readonly { readonly round: number; readonly nodeStart: number }[];
  readonly runs: readonly Run[];
}

async function bench(words: readonly string[]): Promise<readonly Run[]> {
  await using dir = await tempDir();
  const json = join(dir.path, "runs.json");
  const svg = join(dir.path, "chart.svg");
  const argv = [SCRIPT, "--short", "--json", json, "--svg", svg, ...words];
  const { code, stdout, stderr } = await run(process.execPath, argv);
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  expect(await readFile(svg, "utf8")).toMatch(/^<svg [^]*cold[^]*<\/svg>\n$/);
  const { runs }: Kept = JSON.parse(await readFile(json, "utf8"));
  return runs;
}

// Says nothing about speed: a test that measures fails where the machine does something else.
describe(`the benchmark${lacks === undefined ? "" : ` (skipped: ${lacks})`}`, () => {
  it.skipIf(lacks !== undefined)(
    "builds the same right images with tsbuild and with buildah, as root and as a user",
    { timeout: 600_000 },
    async () => {
      const workloads = ["W1", "W6", "W7", "W8", "W9"];
      const runs = await bench([
        `--workloads=${workloads.join(",")}`,
        "--temperatures=cold,cached",
        "--ways=root-unpacked,user",
        "--peers=buildah-chroot",
      ]);
      for (const { code, wrong, ...run } of runs) {
        expect({ code, wrong }, JSON.stringify(run)).toEqual({ code: 0, wrong: undefined });
        expect(run.wall).toBeGreaterThan(0);
        expect(run.cpu).toBeGreaterThan(0);
        expect(run.peak).toBeGreaterThan(1_000_000);
        expect(run.requests).toBeGreaterThan(0);
      }
      const names = (tool: string, group: string): readonly string[] =>
        runs
          .filter((one) => one.tool.startsWith(tool) && one.group === group)
          .map((one) => `${one.workload} ${one.temperature}`);
      const wanted = [
        "W1 cold",
        "W1 cached",
        "W6 cold",
        "W6 cached",
        "W7 cold",
        "W8 cached",
        "W9 cached",
      ];
      for (const group of ["root", "user"]) {
        expect(names("tsbuild", group)).toEqual(wanted);
        expect(names("buildah-chroot", group)).toEqual(wanted);
      }
      const again = runs.filter((one) => one.workload === "W8" && one.tool.startsWith("tsbuild"));
      for (const { blobs } of again) expect(blobs).toBe(0);
    },
  );

  it.skipIf(lacks !== undefined)(
    "goes on where an earlier run has ended, and measures nothing twice",
    { timeout: 600_000 },
    async () => {
      await using dir = await tempDir();
      const json = join(dir.path, "runs.json");
      const words = [
        "--short",
        "--workloads=W1",
        "--temperatures=cold,cached",
        "--ways=root-unpacked",
        "--peers=",
        "--continue",
        "--json",
        json,
      ];
      const measure = async (...more: readonly string[]): Promise<Kept> => {
        const { code, stdout, stderr } = await run(process.execPath, [SCRIPT, ...words, ...more]);
        expect(code, `${stdout}\n${stderr}`).toBe(0);
        return JSON.parse(await readFile(json, "utf8")) as Kept;
      };
      const noTime = await measure("--minutes=0.00001");
      expect(noTime).toMatchObject({ runs: [], calibrations: [] });

      const whole = await measure();
      expect(whole.runs.map(({ temperature }) => temperature)).toEqual(["cold", "cached"]);
      expect(whole.calibrations).toMatchObject([{ round: 0 }]);
      expect(whole.calibrations[0]?.nodeStart).toBeGreaterThan(0);
      expect(await measure()).toEqual(whole);

      await writeFile(json, JSON.stringify({ ...whole, runs: whole.runs.slice(0, 1) }));
      const again = await measure();
      expect(again.runs.map(({ temperature, round }) => [temperature, round])).toEqual([
        ["cold", 0],
        ["cached", 0],
      ]);
      expect(again.calibrations).toHaveLength(2);
    },
  );

  it("says what is wrong with its own options", async () => {
    const { code, stderr } = await run(process.execPath, [SCRIPT, "--workloads=W1,W77"]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("--workloads: W77 is none of W1,W2");
  });
});
