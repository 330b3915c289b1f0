// What a RUN costs above its own command, and whether that depends on the size of the base.
//
//   npm run build && node bench/step-overhead.mjs [--ways root-mounted,root-unpacked] [--files 10k,800k] [--rounds 3]
//     [--tsbuild DIR] [--json FILE]
//
// For each base it takes the difference between a build of 21 steps and one of 1, the base being there, and divides by 20.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pushBases } from "./bases.mjs";
import * as lab from "./lab.mjs";
import { median } from "./report.mjs";
import { tail } from "./tools.mjs";

const STEPS = 20;
const BUDGET_MS = 60;
const MOST_TIMES = 1.5;

const { values: options } = parseArgs({
  options: {
    ways: { type: "string", default: "root-mounted,root-unpacked" },
    files: { type: "string", default: "10k,800k" },
    rounds: { type: "string", default: "3" },
    tsbuild: { type: "string", default: lab.top },
    json: { type: "string" },
  },
});
const bases = options.files.split(",");
const app = await lab.application(options.tsbuild);
const work = lab.workDirectory();
const registry = await lab.support.startRegistry();
try {
  await pushBases(
    lab.support,
    registry,
    bases.map((files) => `library/files:${files}`),
  );
  const rows = [];
  for (const way of options.ways.split(",")) {
    for (const row of await measureWay(way)) rows.push(row);
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, null, 1)}\n`);
} finally {
  await registry[Symbol.asyncDispose]();
  await work[Symbol.asyncDispose]();
}

/** One row for each base; the bases take turns, so that a machine that is slow for a while is slow for both. */
async function measureWay(way) {
  const overheads = new Map(bases.map((files) => [files, []]));
  const ready = new Map();
  for (const files of bases) ready.set(files, await build(way, files, 1, "ready"));
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const files of bases) {
      const one = await build(way, files, 1, `one ${round}`);
      const many = await build(way, files, 1 + STEPS, `many ${round}`);
      overheads.get(files).push(((many.wall - one.wall) / STEPS) * 1_000);
    }
  }
  const rows = bases.map((files) => ({
    way,
    files,
    overheadMs: median(overheads.get(files)),
    readySeconds: ready.get(files).wall,
    peak: ready.get(files).peak,
  }));
  for (const { files, overheadMs, readySeconds, peak } of rows) {
    console.log(
      `${way}, ${files} files: ${overheadMs.toFixed(1)} ms for each RUN (budget ${BUDGET_MS} ms); ` +
        `the first build took ${readySeconds.toFixed(2)} s and at most ${(peak / 1e6).toFixed(0)} MB`,
    );
  }
  const times = rows.at(-1).overheadMs / rows[0].overheadMs;
  console.log(
    `${way}: ${times.toFixed(2)} times as much on ${rows.at(-1).files} files as on ${rows[0].files} (budget ${MOST_TIMES})`,
  );
  return rows;
}

async function build(way, files, steps, mark) {
  const context = join(work.path, "context");
  mkdirSync(context, { recursive: true });
  const runs = Array.from({ length: steps }, (_, i) => `RUN : ${mark} ${i}\n`);
  const text = `FROM ${registry.host}/library/files:${files}\n${runs.join("")}`;
  writeFileSync(join(context, "Dockerfile"), text);
  const log = join(work.path, "log");
  const result = await lab.measure(
    [
      app.node,
      join(app.dir, "bin/tsbuild.js"),
      `--context=${context}`,
      "--no-push",
      `--insecure-registry=${registry.host}`,
      `--store=${join(work.path, `store-${way}`)}`,
      ...(way === "root-unpacked" ? ["--layer-mounts=off"] : []),
    ],
    log,
  );
  if (result.code !== 0) throw new Error(`the build ended with ${result.code}:\n${tail(log)}`);
  return result;
}
