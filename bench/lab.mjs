// What a benchmark stands on: a registry with the bases, the contexts, a user, a checkout that can be run.
import { chmodSync, cpSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTypeScript } from "../scripts/load-ts.mjs";
import { pushBases } from "./bases.mjs";
import { environment } from "./calibrate.mjs";
import { inspect } from "./images.mjs";
import { startTap } from "./tap.mjs";
import { dockerfileOf, writeContext } from "./workloads/generate.mjs";

export const top = dirname(dirname(fileURLToPath(import.meta.url)));
export const support = await loadTypeScript(join(top, "test/support/services-for-scripts.ts"));
/** Change it when what the contexts hold changes: old ones are then left alone. */
const CONTEXTS = "bench-contexts-2";

const SLIM = "library/debian:bookworm-slim";
const FULL = "library/debian:full";
const BUSYBOX = "library/busybox:latest";
const NODE = "library/node:20";
/** Bases by workload; the image is built on the last one. */
const BASES = {
  W1: [BUSYBOX],
  W2: [FULL],
  W3: [SLIM],
  W4: [SLIM],
  W5: [FULL, BUSYBOX],
  W6: [FULL],
  W7: [NODE],
};

/** Debian's own interpreter: one in the caller's PATH may be a script that finds another one. */
export const python = "/usr/bin/python3";

/** A directory that every user can look into; removed when disposed. */
export function workDirectory() {
  const path = mkdtempSync(join(tmpdir(), "tsbuild-bench-"));
  chmodSync(path, 0o755);
  return { path, [Symbol.asyncDispose]: () => support.removeTree(path) };
}

/** tsbuild as `user` (or root) can start it. */
export async function application(checkout, user) {
  const app =
    user === undefined
      ? { node: process.execPath, dir: checkout, async [Symbol.asyncDispose]() {} }
      : await support.reachableApp(checkout, user);
  const { stdout } = await support.run(app.node, [join(app.dir, "bin/tsbuild.js"), "--help"]);
  return { ...app, help: stdout, [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() };
}

/**
 * The workloads' files: their contexts from the cache, their Dockerfiles with the registry's address. `bases` tells what
 * each image has to be built on.
 */
export async function prepare(sources, { registry, tap, work, short }) {
  await pushBases(support, registry, [...new Set(sources.flatMap((name) => BASES[name]))], {
    short,
  });
  const files = {};
  for (const name of sources) {
    const context = await support.cached(`${CONTEXTS}-${short ? "short-" : ""}${name}`, (dir) => {
      writeContext(name, dir, { short });
      return Promise.resolve();
    });
    await readAll(context);
    const dockerfile = join(work, "dockerfiles", name, "Dockerfile");
    mkdirSync(dirname(dockerfile), { recursive: true });
    writeFileSync(dockerfile, dockerfileOf(name, `${tap.host}/library`, { short }));
    const [repository, tag] = BASES[name].at(-1).split(":");
    files[name] = { context, dockerfile, base: await inspect(registry.host, repository, tag) };
  }
  return files;
}

/** Else who builds first would read it from the disk, and the others from memory. */
async function readAll(context) {
  const read = 'find "$1" -type f -exec cat {} + >/dev/null';
  await support.run("sh", ["-c", read, "sh", context]);
}

/** A copy of a context that may be changed; as the cached one it has one time for every file. */
export function copyContext(context, into) {
  cpSync(context, into, { recursive: true, preserveTimestamps: true });
  return into;
}

/** Runs a command and answers what measure.py says of it. */
export async function measure(argv, log, { memoryMax } = {}) {
  const limit = memoryMax === undefined ? [] : ["--memory-max", String(memoryMax)];
  const script = join(top, "bench/measure.py");
  const outcome = await support.run(python, [script, ...limit, log, ...argv], {
    timeoutMs: 3_600_000,
    env: environment(),
  });
  if (outcome.code !== 0) throw new Error(outcome.stderr);
  return JSON.parse(outcome.stdout);
}

/** Registry and counting proxy; what is below is asked for both before and after a build. */
export async function startServices() {
  const registry = await support.startRegistry();
  const tap = await startTap(python, join(top, "bench/tap.py"), registry);
  const traffic = async () => {
    await new Promise((resolve) => setTimeout(resolve, 50)); // the log's last lines are on their way
    const lines = await registry.requests();
    const blobs = lines.filter((line) => /^GET \S+\/blobs\/sha256:\S+ 2/.test(line));
    return { ...(await tap.counts()), requests: lines.length, blobs: blobs.length };
  };
  return {
    registry,
    tap,
    traffic,
    async [Symbol.asyncDispose]() {
      await tap[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}
