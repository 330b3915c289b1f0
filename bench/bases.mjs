// The base images of the workloads, kept in the tests' cache. debian:full and node:20 are one mmdebstrap each, cut into
// layers afterwards: the lowest is exactly debian:bookworm-slim, as it would be for images built on it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { seeded, sourceText } from "./workloads/random.mjs";

const FULL = ["gcc", "g++", "make", "git", "python3", "python3-numpy", "cmake", "nodejs", "npm"];
const NODE = ["nodejs", "npm"];
const MTIME = 1_700_000_000;

/** Makes what is missing and pushes it to `registry`. With `short`, busybox and some files go by Debian's names. */
export async function pushBases(support, registry, names, { short = false } = {}) {
  const small = () => filesOnBusybox(support, "bench-short", { layers: 2, files: 400 });
  const makers = {
    "library/busybox:latest": () => support.busyboxBase(),
    "library/debian:bookworm-slim": () => (short ? small() : support.debianBase()),
    "library/debian:full": () => (short ? small() : debianWith(support, "bench-full", FULL, 3)),
    "library/node:20": () => (short ? small() : debianWith(support, "bench-node", NODE, 1)),
    "library/files:10k": () => filesOnBusybox(support, "bench-10k", { layers: 1, files: 10_000 }),
    "library/files:800k": () =>
      filesOnBusybox(support, "bench-800k", { layers: 8, files: 800_000 }),
  };
  for (const name of names) {
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

/** Small files of random names' lengths and sizes, a hundred in a directory, in layers on busybox. Needs no network. */
async function filesOnBusybox(support, name, { layers, files }) {
  return support.cached(name, async (dir) => {
    const random = seeded(files);
    const text = sourceText(random, 1 << 16);
    const each = files / layers;
    const archives = Array.from({ length: layers }, (_, l) => {
      const entries = [];
      for (let f = 0; f < each; f++) {
        const folder = `opt/layer${l}/${Math.floor(f / 100)}`;
        if (f % 100 === 0) entries.push({ name: folder, type: "dir", mode: 0o755, mtime: MTIME });
        const start = random.below(32_000);
        const data = text.subarray(start, start + random.below(500));
        entries.push({ name: `${folder}/file-${f}`, mode: 0o644, mtime: MTIME, data });
      }
      return support.writeTar(entries);
    });
    await support.writeLayout(dir, {
      layers: [await support.busyboxTar(), ...archives],
      cmd: ["sh"],
    });
  });
}
