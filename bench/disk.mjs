// How much disk a build takes at its peak, beside what it keeps.
//
//   npm run build && node bench/disk.mjs [--cases run,copy] [--layer-mounts auto,off] [--mib 300] [--tsbuild DIR] [--json FILE]
//
// Wants root, a loop device, mkfs.ext4, and what bench/run.mjs wants. Store and TMPDIR are on a filesystem of their own,
// which is asked every 50 ms how much of it is taken: nothing that a build writes, unlinked files among it, is missed.
import { mkdirSync, mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { pushBases } from "./bases.mjs";
import * as lab from "./lab.mjs";
import { tail } from "./tools.mjs";
import { writeMixed } from "./workloads/generate.mjs";

const BUDGET = 1.3; // times what is kept
const EVERY_MS = 50;
const MIB = 1 << 20;
const DISK = 8192 * MIB; // sparse: what is not written takes no room
const FULL = "library/debian:full";
const BUSYBOX = "library/busybox:latest";
const STEPS = 20;

const { values: options } = parseArgs({
  options: {
    cases: { type: "string", default: "pull,run,steps,copy,stage" },
    "layer-mounts": { type: "string", default: "auto,off" },
    mib: { type: "string", default: "300" },
    tsbuild: { type: "string", default: lab.top },
    json: { type: "string" },
  },
});
const mebibytes = Number(options.mib);
const noise = (file) => `dd if=/dev/urandom of=${file} bs=1M count=${mebibytes} 2>/dev/null`;

/** What is built, on which base, and whether it asks where layers come from. */
const CASES = {
  pull: { name: "one RUN on debian:full", base: FULL, mounts: true, lines: ["RUN true"] },
  steps: {
    name: `${STEPS} RUN on debian:full`,
    base: FULL,
    mounts: true,
    lines: Array.from({ length: STEPS }, (_, i) => `RUN echo ${i} >> /etc/steps`),
  },
  run: {
    name: `RUN that makes ${mebibytes} MiB of noise`,
    base: BUSYBOX,
    mounts: false,
    lines: [`RUN ${noise("/noise")}`],
  },
  copy: {
    name: `COPY of ${mebibytes} MiB, half of it noise`,
    base: BUSYBOX,
    mounts: false,
    lines: ["COPY data/ /data/"],
  },
  stage: {
    name: `${mebibytes} MiB of noise from another stage`,
    base: BUSYBOX,
    mounts: false,
    lines: [` AS made\nRUN ${noise("/noise")}`, `FROM scratch\nCOPY --from=made /noise /noise`],
  },
};

const app = await lab.application(options.tsbuild);
const work = lab.workDirectory();
const registry = await lab.support.startRegistry();
try {
  const wanted = options.cases.split(",");
  await pushBases(lab.support, registry, [...new Set(wanted.map((name) => CASES[name].base))]);
  const context = join(work.path, "context");
  writeMixed(join(context, "data"), Math.ceil(mebibytes / 8));
  const rows = [];
  for (const name of wanted) {
    const ways = CASES[name].mounts ? options["layer-mounts"].split(",") : ["auto"];
    for (const way of ways) rows.push(await measureCase(CASES[name], way, context));
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, null, 1)}\n`);
  if (rows.some(({ peak, kept }) => peak > kept * BUDGET)) process.exitCode = 1;
} finally {
  await registry[Symbol.asyncDispose]();
  await work[Symbol.asyncDispose]();
}

async function measureCase(kind, way, context) {
  const { name, base, lines, mounts } = kind;
  const dockerfile = join(work.path, "Dockerfile");
  const [first, ...rest] = lines;
  const from = `FROM ${registry.host}/${base}`;
  const text = first.startsWith(" ") ? `${from}${first}` : `${from}\n${first}`;
  writeFileSync(dockerfile, [text, ...rest, ""].join("\n"));
  const disk = await mountDisk();
  try {
    const row = {
      name: mounts ? `${name}, layer mounts ${way}` : name,
      ...(await watched(disk, [`--context=${context}`, `--dockerfile=${dockerfile}`], way)),
    };
    const { peak, kept } = row;
    console.log(
      `${row.name}: peak ${megabytes(peak)}, kept ${megabytes(kept)}: ${(peak / kept).toFixed(2)} times ` +
        `(at most ${BUDGET}); ${await partsOf(join(disk, "store"))}`,
    );
    return row;
  } finally {
    await must("umount", [disk]);
  }
}

/** Builds with everything on `disk`; answers the most bytes that were taken there, and how many are in the end. */
async function watched(disk, words, way) {
  const temporary = join(disk, "tmp");
  mkdirSync(temporary);
  const log = join(work.path, "log");
  const before = used(disk);
  let peak = 0;
  const sample = setInterval(() => {
    peak = Math.max(peak, used(disk) - before);
  }, EVERY_MS);
  const argv = [
    "env",
    `TMPDIR=${temporary}`,
    app.node,
    join(app.dir, "bin/tsbuild.js"),
    ...words,
    `--destination=${registry.host}/bench/disk:latest`,
    `--insecure-registry=${registry.host}`,
    `--store=${join(disk, "store")}`,
    `--layer-mounts=${way}`,
  ];
  const { code } = await lab.measure(argv, log).finally(() => clearInterval(sample));
  if (code !== 0) throw new Error(`the build ended with ${code}:\n${tail(log)}`);
  return { peak, kept: used(disk) - before };
}

/** A filesystem in a file. Its blocks are what a small machine's disk would have to have. */
async function mountDisk() {
  // Of a new name each time: the device of the last one may not be gone yet.
  const path = mkdtempSync(join(work.path, "disk-"));
  const image = `${path}.img`;
  writeFileSync(image, "");
  truncateSync(image, DISK);
  await must("mkfs.ext4", ["-q", "-F", "-m", "0", "-O", "^has_journal", image]);
  await must("mount", ["-o", "loop", image, path]);
  // It goes with the mount, and so does the room that it took.
  rmSync(image);
  return path;
}

async function must(command, args) {
  const { code, stderr } = await lab.support.run(command, args);
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${stderr}`);
}

/** Bytes, those among them that the kernel has promised and not written yet. */
function used(path) {
  const { blocks, bfree, bsize } = statfsSync(path);
  return (blocks - bfree) * bsize;
}

async function partsOf(store) {
  const { stdout } = await lab.support.run("du", ["-xk", "--max-depth=2", store]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.split("\t"))
    .filter(([kib, path]) => Number(kib) > 1024 && path !== store)
    .map(([kib, path]) => `${basename(path)} ${megabytes(kib * 1024)}`)
    .join(", ");
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
