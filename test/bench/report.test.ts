import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run, tempDir } from "../support/tools.js";

const SCRIPT = join(import.meta.dirname, "../../bench/run.mjs");
const MACHINE = {
  date: "2026-01-02",
  processor: "2 x Processor",
  memory: 4 * 2 ** 30,
  kernel: "6.1",
  node: "v20.20.2",
  tools: [
    { name: "tsbuild root-mounted", group: "root", version: "tsbuild 1" },
    { name: "tsbuild user", group: "user", version: "tsbuild 1" },
    { name: "buildah", group: "root", version: "buildah 2" },
    { name: "buildah-chroot", group: "user", version: "buildah 2" },
  ],
};
/** Megabytes, as the table of budgets shows them. */
const PEAK = 123e6;

interface Report {
  readonly code: number | null;
  readonly page: string;
  readonly svg: string;
  readonly output: string;
}

type Walls = readonly (readonly [what: string, tool: string, wall: number])[];

function runsOf(walls: Walls, round: number): readonly Record<string, unknown>[] {
  return walls.map(([what, tool, wall]) => {
    const [workload, temperature] = what.split(" ");
    const isUsers = tool.endsWith("user") || tool === "buildah-chroot";
    return {
      workload,
      temperature,
      tool,
      round,
      wall,
      cpu: wall / 2,
      peak: PEAK,
      code: 0,
      peer: tool.startsWith("build"),
      group: isUsers ? "user" : "root",
      groupPeak: null,
      up: 1e6,
      down: 2e6,
      requests: 5,
      connections: 1,
      blobs: 0,
      compressed: 10,
    };
  });
}

/** What `--report` makes of these runs, and of a page with `between` between its markers. */
async function report(
  runs: readonly Record<string, unknown>[],
  page = "# Title\n\n<!-- tables -->\nold\n<!-- /tables -->\n\nby hand\n",
): Promise<Report> {
  await using dir = await tempDir();
  const file = (name: string): string => join(dir.path, name);
  const calibrations = [
    { round: 0, nodeStart: 0.04, step: 0.01, help: 0.05 },
    { round: 1, nodeStart: 0.4, step: 0.1 },
  ];
  await writeFile(file("runs.json"), JSON.stringify({ machine: MACHINE, calibrations, runs }));
  await writeFile(file("page.md"), page);
  await writeFile(file("chart.svg"), "");
  const words = ["--report", "--json", file("runs.json"), "--markdown-into", file("page.md")];
  const argv = [SCRIPT, ...words, "--svg", file("chart.svg")];
  const { code, stdout, stderr } = await run(process.execPath, argv);
  const [after, svg] = await Promise.all([
    readFile(file("page.md"), "utf8"),
    readFile(file("chart.svg"), "utf8"),
  ]);
  return { code, page: after, svg, output: `${stdout}\n${stderr}` };
}

const ROUNDS = [
  ...runsOf(
    [
      ["W1 warm", "tsbuild root-mounted", 1],
      ["W1 warm", "buildah", 2],
      ["W1 warm", "tsbuild user", 3],
      ["W1 warm", "buildah-chroot", 2],
      ["W1 cached", "tsbuild root-mounted", 0.2],
      ["W1 cached", "buildah", 0.1],
      ["W2 warm", "tsbuild root-mounted", 2.9],
      ["W2 warm", "buildah", 29],
    ],
    0,
  ),
  ...runsOf(
    [
      ["W1 warm", "tsbuild root-mounted", 10],
      ["W1 warm", "buildah", 40],
      ["W1 cached", "tsbuild root-mounted", 4],
      ["W1 cached", "buildah", 1],
    ],
    1,
  ),
];

describe("the benchmark's report", () => {
  it("compares each run with the peer of its own round, and replaces only what is between the markers", async () => {
    const { code, page, output } = await report(ROUNDS);
    expect(code, output).toBe(0);
    expect(page).toMatch(/^# Title\n\n<!-- tables -->\n\n2026-01-02: 2 x Processor, 4 GiB/);
    expect(page).toMatch(/\n<!-- \/tables -->\n\nby hand\n$/);
    expect(page).not.toContain("old");
    // The ratios are 1/2 and 10/40: their middle is not the ratio of the medians, 5.5/21.
    const users = "2.00 | 3.00 | **1.50**";
    expect(page).toContain(`| W1 warm | 21.0 | 5.50 | **0.38** | ${users} |`);
    expect(page).toContain("| W2 warm | 29.0 | 2.90 | **0.10** | - | - | - |");
  });

  it("shows the budgets in seconds and in starts of Node of the same round", async () => {
    const { page } = await report(ROUNDS);
    expect(page).toContain("`node -e 0` takes 0.22 s (0.04 to 0.40)");
    const steps = /^\| a `RUN`.*$/m.exec(page)?.[0] ?? "";
    // (2.9 - 1) / 19 - 0.01, in the only round that has both.
    expect(steps).toContain("| 0.06 s | 0.090 s = 2.3 n | - | 1.41 s = 35.3 n |");
    // 0.2 and 4 s, 5 and 10 starts.
    expect(page).toContain("| nothing changed: W1 cached | 0.15 s | 2.10 s = 7.5 n | - |");
    expect(page).toContain("| memory of the largest process | 150 MB | 123 MB (W1 warm) |");
    expect(page).not.toContain("50,000 files");
    expect(page).toContain("| `tsbuild --help` | 0.06 s | 0.050 s = 1.3 n | 0.050 s = 1.3 n | - |");
  });

  it("compares the processor time of cold builds, and sizes of layers with BuildKit's alone", async () => {
    const cold = runsOf(
      [
        ["W3 cold", "tsbuild root-mounted", 3],
        ["W3 cold", "buildah", 4],
        ["W3 cold", "buildkit", 2],
        ["W6 cold", "tsbuild root-mounted", 1],
        ["W6 cold", "buildkit", 4],
      ],
      0,
    );
    const sizes = [1.2e6, 1, 1e6, 900_000, 1];
    const { page } = await report(cold.map((one, i) => ({ ...one, compressed: sizes[i] })));
    expect(page).toMatch(/\| its processor time, [^|]+ \| 1\.00 \| 0\.88, 1\.50 \|/);
    expect(page).toMatch(/\| compressed size [^|]+ \| 1\.05 \| 1\.200 \|/);
  });

  it("draws a bar for each way and its peer, within the picture, and cuts those that are too long", async () => {
    const { svg } = await report(ROUNDS);
    expect(svg).toMatch(/^<svg [^]*<\/svg>\n$/);
    const classes = [
      ...svg.matchAll(
        /<rect class="([a-z-]+)" x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="10"/g,
      ),
    ];
    expect(classes.map(([, kind]) => kind).filter((kind) => kind === "peer")).toHaveLength(4);
    expect(classes.map(([, kind]) => kind).filter((kind) => kind === "user")).toHaveLength(1);
    for (const [, , width] of classes) expect(Number(width)).toBeLessThan(450);
    expect(svg).toContain(">3.00 \u203a</tspan>"); // W1 cached: 2 and 4 times the peer's
    expect(svg).toContain("prefers-color-scheme: dark");
  });

  it("keeps failed and wrong builds out of the figures, and ends with an error for them", async () => {
    const [bad] = runsOf([["W1 warm", "buildah", 0.001]], 0);
    const [broken] = runsOf([["W2 warm", "buildah", 0.001]], 0);
    const { code, page, output } = await report([
      ...ROUNDS,
      { ...bad, wrong: "config.Cmd is 1, not 2" },
      { ...broken, code: 125 },
    ]);
    expect(code).toBe(1);
    expect(output).toContain("W1 warm buildah: config.Cmd is 1, not 2");
    expect(output).toContain("W2 warm buildah: failed");
    expect(page).toContain("| W1 warm | 21.0 | 5.50 | **0.38** |");
    expect(page).toContain("| W2 warm | 29.0 | 2.90 | **0.10** |");
  });

  it("leaves a page without markers as it is", async () => {
    const { code, page, output } = await report(ROUNDS, "# Title\n\n<!-- tables -->\n");
    expect(code).not.toBe(0);
    expect(output).toContain("<!-- /tables -->");
    expect(page).toBe("# Title\n\n<!-- tables -->\n");
  });
});
