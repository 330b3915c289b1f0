// Measures tsbuild beside every peer that this machine has, interleaved.
//
//   npm run build && node bench/run.mjs [--only W1,W6] [--rounds 3] [--tools tsbuild,buildah] [--out FILE] [--dir DIR]
//
// Prints, for each workload, the medians of wall and CPU seconds and of the peak memory of the largest process, and the
// ratios to the fastest peer in the same round. See bench/README.md. Wants root, python3 and Debian's docker-registry.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTypeScript } from "../scripts/load-ts.mjs";
import { pushBases } from "./bases.mjs";
import { findTools } from "./tools.mjs";
import { changeOneSource, generate } from "./workloads/generate.mjs";

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const support = await loadTypeScript(join(top, "test/support/services-for-scripts.ts"));

const ALL = ["W1", "W2", "W3", "W4", "W5", "W6", "W6known", "W7", "W8", "W9"];
/** Which workload's files a run builds, and what has to have been built in the same state before. */
const VARIANTS = {
  W6known: { source: "W6", before: "label" },
  W8: { source: "W7", before: "same" },
  W9: { source: "W7", before: "same", change: true },
};
const BASES = {
  W1: ["library/busybox:latest"],
  W2: ["library/debian:full"],
  W3: ["library/debian:bookworm-slim"],
  W4: ["library/debian:bookworm-slim"],
  W5: ["library/debian:full", "library/busybox:latest"],
  W6: ["library/debian:full"],
  W7: ["library/node:20"],
};

const options = parseArguments(process.argv.slice(2));
process.exitCode = await main();

function parseArguments(argv) {
  const parsed = { only: ALL, rounds: 3, tools: undefined, out: undefined, dir: undefined };
  for (let i = 0; i < argv.length; i++) {
    const [, name, inline] = /^--(only|rounds|tools|out|dir)(?:=(.*))?$/s.exec(argv[i]) ?? [];
    const value = inline ?? argv[++i];
    if (name === undefined || value === undefined) throw new Error(`bad argument ${argv[i - 1]}`);
    if (name === "rounds") parsed.rounds = Number(value);
    else parsed[name] = name === "out" || name === "dir" ? value : value.split(",");
  }
  const unknown = parsed.only.filter((name) => !ALL.includes(name));
  if (unknown.length > 0) throw new Error(`no workload ${unknown.join(", ")}`);
  return parsed;
}

async function main() {
  const tools = findTools(support, top, options.tools);
  console.log(`tools: ${tools.map((tool) => tool.name).join(", ")}`);
  const work = options.dir ?? (await mkdtemp(join(tmpdir(), "tsbuild-bench-")));
  const registry = await support.startRegistry();
  const runs = [];
  try {
    const sources = [...new Set(options.only.map((name) => VARIANTS[name]?.source ?? name))];
    const bases = [...new Set(sources.flatMap((name) => BASES[name]))];
    await pushBases(support, registry, bases);
    generate(join(work, "workloads"), registry.host, sources);
    for (const name of options.only) {
      for (let round = 0; round < options.rounds; round++) {
        // Another order each round: what one run leaves in the page cache favours no tool.
        const order = tools.map((_, i) => tools[(i + round) % tools.length]);
        for (const tool of order)
          runs.push(await measureOne({ name, round, tool, registry, work }));
      }
      report(name, tools, runs);
    }
  } finally {
    await registry[Symbol.asyncDispose]();
    if (options.dir === undefined) await support.removeTree(work);
  }
  if (options.out !== undefined) writeFileSync(options.out, `${JSON.stringify(runs, null, 1)}\n`);
  return runs.every((run) => run.code === 0) ? 0 : 1;
}

async function measureOne({ name, round, tool, registry, work }) {
  const { source = name, before, change = false } = VARIANTS[name] ?? {};
  const context = join(work, "workloads", source);
  const state = join(work, "state");
  mkdirSync(state, { recursive: true });
  const target = (kind) =>
    `${registry.host}/bench/${name.toLowerCase()}-${tool.name}-${round}-${kind}:1`;
  const build = (from, destination) =>
    measure(tool.command({ context: from, destination, registry: registry.host, state }), work);
  try {
    if (before === "same") await build(context, target("before"));
    if (before === "label") await build(labelOnly(work, context), target("before"));
    if (change) changeOneSource(context, `${tool.name} ${round}`);
    await support.run("sync", []);
    const result = await build(context, target("measured"));
    if (result.code !== 0) console.error(`${name} ${tool.name}: ${tail(join(work, "log"))}`);
    return { workload: name, tool: tool.name, round, ...result };
  } finally {
    if (change) generate(join(work, "workloads"), registry.host, [source]);
    await support.removeTree(state);
  }
}

/** A context that makes a builder know the base: its config, and, with a COPY, what its layers hold. */
function labelOnly(work, context) {
  const dir = join(work, "label");
  mkdirSync(dir, { recursive: true });
  const [from] = readFileSync(join(context, "Dockerfile"), "utf8").split("\n");
  writeFileSync(join(dir, "Dockerfile"), `${from}\nCOPY Dockerfile /known\n`);
  return dir;
}

async function measure(command, work) {
  const out = await support.mustRun("python3", [
    join(top, "bench/measure.py"),
    join(work, "log"),
    ...command,
  ]);
  return JSON.parse(out);
}

function report(workload, tools, runs) {
  const own = runs.filter((run) => run.workload === workload && run.code === 0);
  console.log(`\n${workload.padEnd(16)}    wall s     cpu s   peak MB   wall/peer  cpu/peer`);
  for (const { name } of tools) {
    const of = own.filter((run) => run.tool === name);
    if (of.length === 0) console.log(`  ${name.padEnd(14)} failed`);
    else {
      const values = ["wall", "cpu", "peak"].map((key) => median(of.map((run) => run[key])));
      const ratios = ["wall", "cpu"].map((key) => ratioToPeers(own, name, key));
      const cells = [
        values[0].toFixed(2),
        values[1].toFixed(2),
        (values[2] / 1e6).toFixed(0),
        ...ratios,
      ];
      console.log(`  ${name.padEnd(14)} ${cells.map((cell) => cell.padStart(9)).join(" ")}`);
    }
  }
}

/** The median over rounds of this tool's value by the best value of the others in the same round. */
function ratioToPeers(runs, name, key) {
  const ratios = [];
  for (const run of runs.filter((one) => one.tool === name)) {
    const peers = runs.filter(
      (r) => r.round === run.round && r.tool !== name && r.tool !== "tsbuild",
    );
    if (peers.length > 0) ratios.push(run[key] / Math.min(...peers.map((peer) => peer[key])));
  }
  return ratios.length === 0 ? "-" : median(ratios).toFixed(2);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function tail(path) {
  return readFileSync(path, "utf8").slice(-600);
}
