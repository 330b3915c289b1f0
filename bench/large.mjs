// Builds and pushes more than fits into memory: a base of 5 GiB by COPY, and on it a layer of 8 GiB by RUN, half of both of
// noise, each with 512 MB for everything, page cache included.
//
//   npm run build && node bench/large.mjs [--base-gib 5] [--layer-gib 8] [--memory-mb 512] [--layer-mounts auto|off]
//     [--tsbuild DIR] [--json FILE]
//
// Wants root, a control group that can be given a limit, and 30 GB of disk; what is not needed any more is deleted as it
// goes. Prints the peak of the largest process and of the group; the latter has the page cache, so it comes near the limit.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pushBases } from "./bases.mjs";
import { inspect } from "./images.mjs";
import * as lab from "./lab.mjs";
import { tail } from "./tools.mjs";
import { writeMixed } from "./workloads/generate.mjs";
import { seeded, sourceText } from "./workloads/random.mjs";

const MIB = 1 << 20;
const FILES = 8; // that the mixed bytes are cut into
const TEXT_MIB = 16;

const { values: options } = parseArgs({
  options: {
    "base-gib": { type: "string", default: "5" },
    "layer-gib": { type: "string", default: "8" },
    "memory-mb": { type: "string", default: "512" },
    "layer-mounts": { type: "string", default: "auto" },
    tsbuild: { type: "string", default: lab.top },
    json: { type: "string" },
  },
});
const app = await lab.application(options.tsbuild);
const work = lab.workDirectory();
const registry = await lab.support.startRegistry();
const rows = [];
try {
  await pushBases(lab.support, registry, ["library/busybox:latest"]);
  await buildBase();
  await buildLayer();
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, null, 1)}\n`);
} finally {
  await registry[Symbol.asyncDispose]();
  await work[Symbol.asyncDispose]();
}

/** Mebibytes of one of the files. */
function each(gibibytes) {
  return Math.max(1, Math.round((Number(gibibytes) * 1024) / FILES));
}

async function buildBase() {
  const context = join(work.path, "base");
  const mebibytes = each(options["base-gib"]);
  writeMixed(join(context, "data"), mebibytes);
  writeFileSync(
    join(context, "Dockerfile"),
    `FROM ${registry.host}/library/busybox:latest\nCOPY data/ /data/\n`,
  );
  await build(`base of ${(mebibytes * FILES) / 1024} GiB by COPY`, context, "library/large");
}

async function buildLayer() {
  const context = join(work.path, "layer");
  const mebibytes = each(options["layer-gib"]);
  const pieces = Math.max(1, Math.round(mebibytes / TEXT_MIB));
  mkdirSync(context);
  writeFileSync(join(context, "text"), sourceText(seeded(8), TEXT_MIB * MIB));
  const lines = [
    "set -e; mkdir /big; cd /big",
    "wc -c /data/big0.bin",
    "for i in 0 1 2 3; do",
    `  dd if=/dev/urandom of=noise$i bs=1M count=${mebibytes}`,
    `  for j in $(seq ${pieces}); do cat /text; done > text$i`,
    "done",
  ];
  writeFileSync(
    join(context, "Dockerfile"),
    `FROM ${registry.host}/library/large:latest\nCOPY text /text\nRUN <<END\n${lines.join("\n")}\nEND\n`,
  );
  const gibibytes = ((mebibytes + pieces * TEXT_MIB) * 4) / 1024;
  const name = `layer of ${gibibytes.toFixed(2)} GiB by RUN on that base`;
  await build(name, context, "bench/large");
}

/** Builds, pushes, says what it took, and deletes context and store. */
async function build(name, context, repository) {
  const log = join(work.path, "log");
  const store = join(work.path, "store");
  const argv = [
    app.node,
    join(app.dir, "bin/tsbuild.js"),
    `--context=${context}`,
    `--destination=${registry.host}/${repository}:latest`,
    `--insecure-registry=${registry.host}`,
    `--store=${store}`,
    `--layer-mounts=${options["layer-mounts"]}`,
  ];
  const result = await lab.measure(argv, log, { memoryMax: Number(options["memory-mb"]) * 1e6 });
  if (result.code !== 0) throw new Error(`${name} ended with ${result.code}:\n${tail(log)}`);
  rmSync(context, { recursive: true });
  await lab.support.removeTree(store);
  const { layers } = await inspect(registry.host, repository);
  const pushed = layers.reduce((sum, layer) => sum + layer.size, 0);
  rows.push({ name, pushed, ...result });
  console.log(
    `${name}: ${result.wall.toFixed(1)} s wall, ${result.cpu.toFixed(1)} s CPU, ` +
      `largest process ${megabytes(result.peak)}, all with page cache ${megabytes(result.groupPeak)} ` +
      `of ${options["memory-mb"]} MB; the image has ${megabytes(pushed)}`,
  );
}

function megabytes(bytes) {
  return bytes === null ? "unknown" : `${(bytes / 1e6).toFixed(0)} MB`;
}
