// Two budgets that need no peer: what a RUN step costs above its command on a big base, and how much memory a COPY of
// 1 GiB takes.
//
//   npm run build && node bench/small.mjs [steps] [copy]
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTypeScript } from "../scripts/load-ts.mjs";
import { pushBases } from "./bases.mjs";
import { writeGibibyte } from "./workloads/generate.mjs";

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const support = await loadTypeScript(join(top, "test/support/services-for-scripts.ts"));
const STEPS = 20;
const BENCHES = { steps, copy };

const names = process.argv.slice(2);
const work = await mkdtemp(join(tmpdir(), "tsbuild-bench-"));
const registry = await support.startRegistry();
try {
  for (const name of names.length === 0 ? Object.keys(BENCHES) : names) await BENCHES[name]();
} finally {
  await registry[Symbol.asyncDispose]();
  await support.removeTree(work);
}

/** The difference between 20 and 1 `RUN true`, on 880 MB and 46,000 entries that are unpacked already. */
async function steps() {
  await pushBases(support, registry, ["library/synthetic:latest"]);
  const from = `FROM ${registry.host}/library/synthetic:latest\n`;
  const runs = (n) => Array.from({ length: n }, (_, i) => `RUN true ${i}\n`).join("");
  await built("unpack", `${from}RUN true unpack\n`);
  const one = await built("one", from + runs(1));
  const many = await built("many", from + runs(1 + STEPS));
  const each = ((many.wall - one.wall) / STEPS) * 1_000;
  console.log(`steps: ${each.toFixed(1)} ms for each RUN above its command (budget 60 ms)`);
  console.log(`steps: peak ${(many.peak / 1e6).toFixed(0)} MB (budget 150 MB)`);
}

async function copy() {
  await pushBases(support, registry, ["library/busybox:latest"]);
  writeGibibyte(join(work, "copy", "data"));
  const { wall, cpu, peak } = await built(
    "copy",
    `FROM ${registry.host}/library/busybox:latest\nCOPY data/ /data/\n`,
  );
  console.log(`copy: 1 GiB in ${wall.toFixed(1)} s wall, ${cpu.toFixed(1)} s CPU`);
  console.log(`copy: peak ${(peak / 1e6).toFixed(0)} MB (budget 150 MB)`);
}

async function built(name, dockerfile) {
  const context = join(work, name);
  mkdirSync(context, { recursive: true });
  writeFileSync(join(context, "Dockerfile"), dockerfile);
  const command = [
    process.execPath,
    join(top, "bin/tsbuild.js"),
    "--context",
    context,
    "--destination",
    `${registry.host}/bench/${name}:1`,
    "--insecure-registry",
    registry.host,
    "--store",
    join(work, "store"),
  ];
  const log = join(work, `${name}.log`);
  const out = await support.mustRun("python3", [join(top, "bench/measure.py"), log, ...command]);
  const result = JSON.parse(out);
  if (result.code !== 0) throw new Error(`${name} ended with ${result.code}, see ${log}`);
  return result;
}
