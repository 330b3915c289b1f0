// The base images of the workloads, kept in the tests' cache. debian:full and node:20 are one mmdebstrap each, cut into
// layers afterwards: the lowest is exactly debian:bookworm-slim, as it would be for images built on it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { seeded, sourceText } from "./workloads/random.mjs";

const FULL = ["gcc", "g++", "make", "git", "python3", "python3-numpy", "cmake", "nodejs", "npm"];
const NODE = ["nodejs", "npm"];

/** Makes what is missing and pushes it to `registry`. Answers nothing. */
export async function pushBases(support, registry, names) {
  const makers = {
    "library/busybox:latest": () => support.busyboxBase(),
    "library/debian:bookworm-slim": () => support.debianBase(),
    "library/debian:full": () => debianWith(support, "bench-full", FULL, 3),
    "library/node:20": () => debianWith(support, "bench-node", NODE, 1),
    "library/synthetic:latest": () => synthetic(support),
  };
  for (const name of names ?? Object.keys(makers)) {
    await support.pushBase(await makers[name](), registry, name);
  }
}

/** Debian with more packages: slim's layer, and what the packages add in `parts` layers. */
async function debianWith(support, name, packages, parts) {
  const slimLayout = await support.debianBase();
  return support.cached(name, async (dir) => {
    const archive = await support.bootstrapDebian(dir, packages);
    const slim = readLayer(slimLayout);
    const known = new Map(support.readTar(slim).map((entry) => [entry.name, entry]));
    const added = support.readTar(archive).filter((entry) => !isSame(entry, known.get(entry.name)));
    const layers = cut(added, parts).map((entries) => support.writeTar(entries));
    await support.writeLayout(dir, { layers: [slim, ...layers], cmd: ["bash"] });
  });
}

function isSame(entry, other) {
  return (
    other !== undefined &&
    entry.type === other.type &&
    entry.mode === other.mode &&
    entry.uid === other.uid &&
    entry.gid === other.gid &&
    entry.linkname === other.linkname &&
    entry.data.equals(other.data)
  );
}

/** Runs of about the same size in bytes. A hard link stays with its file: both are in one run, in order. */
function cut(entries, parts) {
  const total = entries.reduce((sum, entry) => sum + entry.data.length, 0);
  const runs = Array.from({ length: parts }, () => []);
  const runOf = new Map();
  let bytes = 0;
  for (const entry of entries) {
    bytes += entry.data.length;
    const here = Math.min(parts - 1, Math.floor((bytes / (total + 1)) * parts));
    const run = entry.type === "hardlink" ? (runOf.get(entry.linkname) ?? here) : here;
    runOf.set(entry.name, run);
    runs[run].push(entry);
  }
  return runs;
}

function readLayer(layout) {
  const blob = (digest) => readFileSync(join(layout, "blobs", ...digest.split(":")));
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
  const manifest = JSON.parse(blob(index.manifests[0].digest).toString());
  return gunzipSync(blob(manifest.layers[0].digest));
}

/** 46,000 entries and 880 MB in four layers on busybox; needs no network. */
async function synthetic(support) {
  return support.cached("bench-synthetic", async (dir) => {
    const random = seeded(46);
    const text = sourceText(random, 4 << 20);
    const noise = random.bytes(4 << 20);
    const layers = [await support.busyboxTar()];
    for (let l = 0; l < 4; l++) {
      const entries = [];
      for (let d = 0; d < 1_000; d++) {
        const folder = `opt/l${l}/d${d}`;
        entries.push({ name: folder, type: "dir", mode: 0o755, mtime: 1_700_000_000 });
        for (let f = 0; f < 10.5 + random.unit() - 0.5; f++) {
          const size = Math.trunc(Math.min(2_000_000, Math.max(100, random.lognormal(9.2, 1.1))));
          const source = f % 4 === 0 ? noise : text;
          const start = random.below(source.length - size);
          const data = source.subarray(start, start + size);
          entries.push({ name: `${folder}/f${f}`, mode: 0o644, mtime: 1_700_000_000, data });
        }
      }
      layers.push(support.writeTar(entries));
    }
    await support.writeLayout(dir, { layers, cmd: ["sh"] });
  });
}
